#pragma once
/// The recommend command of peterrec and cmnrec: reads requests and prints answers.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/options.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/vocabulary.hpp"
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

/// Prints answers in the format of --output.
class AnswerPrinter {
 public:
  /// `titles` must outlive the printer.
  AnswerPrinter(Output output, const std::optional<Titles>& titles)
      : output_(output), titles_(titles) {}

  void print(const Request& request, const Answer& answer);
  /// Prints the error of a line of standard input that cannot be answered.
  void print_error(const Request& request, std::string_view reason) const;

 private:
  std::optional<std::string_view> title_of(const std::string& item) const {
    return titles_ ? titles_->find(item) : std::nullopt;
  }
  void print_text(const Request& request, const Answer& answer) const;
  void print_json(const Request& request, const Answer& answer) const;
  void print_csv(const Request& request, const Answer& answer) const;

  Output output_;
  const std::optional<Titles>& titles_;
  std::int64_t answers_ = 0;  ///< number of printed answers
};

/// Calls answer(request) for each user of --user and then for each --history. Without both options
/// it reads requests from standard input, one per line: "item,item,...", or with `has_tasks` "task:
/// item,item,...". An OptionError ends the command, except for a line of standard input, whose
/// error is printed as its answer.
void answer_requests(const RecommendOptions& options, AnswerPrinter& printer, bool has_tasks,
                     const std::function<Request(const std::string& user)>& request_of,
                     const std::function<void(const Request&)>& answer);

/// Removes the items outside the vocabulary from a history, and returns them.
std::vector<std::string> remove_unknown(std::vector<std::string>& history,
                                        const Vocabulary& vocabulary);

/// log(count + 1/2) of every id [1,V]: scores for a history without known items.
Tensor frequency_scores(const Vocabulary& vocabulary);

/// "296 Pulp Fiction (1994)", or only the id if there is no title.
std::string described(std::string_view item, const std::optional<Titles>& titles);

/// Splits "a, b,c" or "a b c" into a, b and c, without empty entries. A text with a comma is split
/// only at commas, so that item names may contain blanks.
std::vector<std::string> split_list(std::string_view text);

}  // namespace refrain::examples
