#pragma once
/// Messages of the serve program: JSON lines in both directions.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/serve/request.hpp"

namespace refrain::serve {

/// {"user": "u1", "item": "i9", "timestamp": 7}: an event, appended to the user's history. A valid
/// event has no answer. The order of events is that of their messages. A "timestamp" or "time" that
/// is a whole number goes to the event log; others are ignored.
struct Event {
  std::string user;
  std::string item;
  std::optional<std::int64_t> time{};
};

/// What a request gets when the service knows no event of its user, or no item of its history.
enum class Fallback : std::uint8_t {
  popular,  ///< the most frequent targets
  none,     ///< an error
};

/// {"user": "u1", "task": "next", "k": 10} or {"history": ["i3", "i9"], "task": "next"}: requests
/// recommendations for a user, or after a history.
struct Request {
  std::optional<std::string> user{};   ///< none: after `history`
  std::vector<std::string> history{};  ///< oldest first
  std::vector<std::string> tasks{};    ///< names of "task" or "tasks", all different
  bool has_many = false;  ///< of "tasks": the answer is a list with one element for each
  std::int64_t k = 10;
  std::vector<std::string> exclude{};               ///< targets that are not recommended
  std::optional<std::vector<std::string>> allow{};  ///< only these are recommended; none: all
  std::vector<std::string> filters{};               ///< only targets in every one of these filters
  SeenItems seen = SeenItems::by_task;
  Fallback fallback = Fallback::popular;
};

/// {"filter": "in_stock", "items": ["i3", "i9"]}: adds a filter, or replaces the filter with its
/// name.
struct SetFilter {
  std::string filter;
  std::vector<std::string> items;
};

/// {"drop_filter": "in_stock"}: removes a filter.
struct DropFilter {
  std::string filter;
};

/// {"load": "next.patch.safetensors"}: adds a task, or replaces the task with its name.
struct Load {
  std::string file;
};

/// {"unload": "next"}: removes a task.
struct Unload {
  std::string task;
};

using Message = std::variant<Event, Request, Load, Unload, SetFilter, DropFilter>;

/// Parses one message. Users, items and names are strings or integers. Throws OptionError with the
/// reason for an invalid message, including one with duplicate keys.
REFRAIN_API Message parse_message(std::string_view text);

/// Parses the name of an item, a string or an integer. Throws OptionError.
REFRAIN_API std::string parse_name(std::string_view text);

/// Parses {"file": NAME}. Throws OptionError.
REFRAIN_API std::string parse_file(std::string_view text);

/// What an answer was computed from.
enum class Source : std::uint8_t {
  state,    ///< the user's state
  pass,     ///< a full pass over the history
  popular,  ///< the frequencies of the targets
};

/// The answer to a request by one of its tasks.
struct TaskAnswer {
  Source source = Source::pass;
  /// number of items of "history", "exclude" and "allow" outside the vocabularies of the model and
  /// of the task's targets
  std::int64_t unknown = 0;
  std::vector<Recommendation> best{};
};

/// {"user": "u1", "task": "next", "source": "state", "best": [{"id": "i4", "score": 0.5}, ...]},
/// with "user" for a request of a user, "unknown": n if it is positive, "title" for items with one,
/// and "probability" for scores with one. The answer to a request with "tasks" has such an object
/// for each task, without the user, in a list "answers".
REFRAIN_API std::string answer_text(const Request& request, const std::vector<TaskAnswer>& answers,
                                    const Titles* titles = nullptr);
/// answer_text() with "line" before the other keys.
REFRAIN_API std::string answer_line(std::int64_t line, const Request& request,
                                    const std::vector<TaskAnswer>& answers,
                                    const Titles* titles = nullptr);
/// {"line": 3, "loaded": "next"}
REFRAIN_API std::string done_line(std::int64_t line, const char* what, const std::string& name);
/// {"line": 3, "filter": "in_stock", "items": 2, "unknown": 1}, without "unknown" if it is 0.
REFRAIN_API std::string filter_line(std::int64_t line, const SetFilter& message,
                                    std::int64_t unknown);
/// {"line": 3, "error": "..."}, with the "user", "task" or "tasks" of the message if it has them.
REFRAIN_API std::string error_line(std::int64_t line, std::string_view reason,
                                   const Message* message = nullptr);

}  // namespace refrain::serve
