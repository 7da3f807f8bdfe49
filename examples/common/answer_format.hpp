#pragma once
/// The text of an answer to a request for recommendations.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/options.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/serve/recommendation.hpp"

namespace refrain::examples {

/// A request for recommendations, in original ids.
struct Request {
  std::string user = {};                  ///< empty for a request by history
  std::vector<std::string> history = {};  ///< oldest first
  std::vector<std::string> owned = {};    ///< the user's items of another domain
  std::string task = {};                  ///< empty: all tasks
};

/// The answer to a request for one task.
struct Answer {
  std::string task;
  std::vector<std::string> unknown = {};  ///< items of the history outside the vocabulary
  bool is_by_frequency = false;           ///< no item of the history is known
  std::vector<Recommendation> best = {};
};

/// Formats answers as --output asks. May be used from many threads at once.
class AnswerFormat {
 public:
  /// `titles` must outlive the object.
  AnswerFormat(Output output, const std::optional<Titles>& titles)
      : output_(output), titles_(titles) {}

  Output output() const noexcept { return output_; }
  /// The first line of the output; empty unless it is CSV.
  std::string_view heading() const noexcept;
  /// Appends the lines of an answer. `number`: the number of the answer in the output, from 1.
  void append(std::string& text, std::int64_t number, const Request& request,
              const Answer& answer) const;

 private:
  std::optional<std::string_view> title_of(const std::string& item) const {
    return titles_ ? titles_->find(item) : std::nullopt;
  }
  void append_text(std::string& text, const Request& request, const Answer& answer) const;
  void append_json(std::string& text, const Request& request, const Answer& answer) const;
  void append_csv(std::string& text, std::int64_t number, const Request& request,
                  const Answer& answer) const;

  Output output_;
  const std::optional<Titles>& titles_;
};

/// What an answer says about a history without known items.
inline constexpr const char* frequency_note = "no known item in the history: ranked by frequency";
/// What an answer says about the unknown items of a history.
std::string unknown_note(const Answer& answer);

/// Appends a string as a JSON string; invalid UTF-8 is replaced.
void append_json_string(std::string& text, std::string_view value);
/// Appends a number as JSON; a number that is not finite is null.
void append_json_number(std::string& text, double value);

/// "296 Pulp Fiction (1994)", or only the id if there is no title.
std::string described(std::string_view item, const std::optional<Titles>& titles);

}  // namespace refrain::examples
