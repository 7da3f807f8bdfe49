#pragma once
/// Messages of the serve program: JSON lines in both directions.

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "refrain/serve/recommender.hpp"

namespace refrain::serve {

/// {"user": "u1", "item": "i9"}: an event, appended to the user's history. A valid event has no
/// answer. A "timestamp" or "time" is allowed and ignored: the order of events is that of their
/// lines.
struct Event {
  std::string user;
  std::string item;
};

/// {"user": "u1", "task": "next", "k": 10}: requests recommendations for a user; k defaults to 10.
struct UserRequest {
  std::string user;
  std::string task;
  std::int64_t k = 10;
};

/// {"history": ["i3", "i9"], "task": "next", "k": 10}: requests recommendations after a history.
struct HistoryRequest {
  std::vector<std::string> history;  ///< oldest first
  std::string task;
  std::int64_t k = 10;
};

/// {"load": "next.patch.safetensors"}: adds a task, or replaces the task with its name.
struct Load {
  std::string file;
};

/// {"unload": "next"}: removes a task.
struct Unload {
  std::string task;
};

using Message = std::variant<Event, UserRequest, HistoryRequest, Load, Unload>;

/// Parses one line. Users and items are strings or integers. Throws OptionError with the reason for
/// an invalid message, including one with duplicate keys.
Message parse_message(std::string_view line);

/// How an answer was computed.
struct AnswerNote {
  std::int64_t unknown = 0;   ///< number of items of the history outside the model's vocabulary
  bool by_frequency = false;  ///< no item is known: the answer is the most frequent targets
};

/// {"line": 3, "task": "next", "best": [{"id": "i4", "score": 0.5}, ...]}, with "user" if it is
/// given, "unknown": n and "fallback": "frequency" according to the note, and "probability" for
/// scores that have one.
std::string answer_line(std::int64_t line, const std::string* user, const std::string& task,
                        const std::vector<Recommendation>& best, const AnswerNote& note = {});
/// {"line": 3, "loaded": "next"}
std::string done_line(std::int64_t line, const char* what, const std::string& task);
/// {"line": 3, "error": "..."}, with the "user" and "task" of the message if it has them.
std::string error_line(std::int64_t line, std::string_view reason,
                       const Message* message = nullptr);

}  // namespace refrain::serve
