#pragma once
/// Lines of the serve program: JSON in, JSON out.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "refrain/serve/recommender.hpp"

namespace refrain::serve {

/// {"user": "u1", "item": "i9"}: the user did this. Answered only when something is wrong. A
/// "timestamp" or "time" may stand beside; events count in the order of their lines.
struct Event {
  std::string user;
  std::string item;
};

/// {"user": "u1", "task": "next", "k": 10}: what is best for the user?  k is 10 unless given.
struct UserRequest {
  std::string user;
  std::string task;
  std::int64_t k = 10;
};

/// {"history": ["i3", "i9"], "task": "next", "k": 10}: what is best after this, whoever it was?
struct HistoryRequest {
  std::vector<std::string> history;  ///< oldest first
  std::string task;
  std::int64_t k = 10;
};

/// {"load": "next.patch.safetensors"}: a task joins, or replaces the one of its name.
struct Load {
  std::string file;
};

/// {"unload": "next"}: a task goes.
struct Unload {
  std::string task;
};

using Message = std::variant<Event, UserRequest, HistoryRequest, Load, Unload>;

/// Reads one line. Users and items are texts or whole numbers. Throws OptionError, with the reason,
/// for anything that is no message; a key that stands twice is an error.
Message parse_message(std::string_view line);

/// How an answer came about.
struct AnswerNote {
  std::int64_t unknown = 0;   ///< items of the history that the model does not know
  bool by_frequency = false;  ///< no item is known: the list is that of the most frequent targets
};

/// {"line": 3, "task": "next", "best": [{"id": "i4", "score": 0.5}, ...]}, with "user" when there
/// is one, "unknown": n and "fallback": "frequency" by the note, and "probability" beside scores
/// that have one.
std::string answer_line(std::int64_t line, const std::string* user, const std::string& task,
                        const std::vector<Recommendation>& best, const AnswerNote& note = {});
/// {"line": 3, "loaded": "next"}
std::string done_line(std::int64_t line, const char* what, const std::string& task);
/// {"line": 3, "error": "..."}, with "user" and "task" of the message when there is one.
std::string error_line(std::int64_t line, std::string_view reason,
                       const Message* message = nullptr);

}  // namespace refrain::serve
