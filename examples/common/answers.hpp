#pragma once
/// The recommend command of peterrec and cmnrec: reads requests and prints answers.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/answer_format.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain::examples {

/// Prints answers in the format of --output.
class AnswerPrinter {
 public:
  /// `titles` must outlive the printer.
  AnswerPrinter(Output output, const std::optional<Titles>& titles) : format_(output, titles) {}

  void print(const Request& request, const Answer& answer);
  /// Prints the error of a line of standard input that cannot be answered.
  void print_error(const Request& request, std::string_view reason) const;

 private:
  AnswerFormat format_;
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

/// The id of each item of a log, unknown_id or absent_id for items outside the vocabulary.
std::vector<std::int32_t> ids_of_items(const refrain::detail::StringTable& items,
                                       const Vocabulary& vocabulary);

/// Users as ids, one row for each user.
struct UserBatch {
  RaggedIds histories = {};  ///< the known items of their histories
  RaggedIds seen = {};       ///< the targets that are not recommended
};

/// The smallest batch that is scored. From this number of rows on, a row's scores have the same
/// bits in every batch on the CPU (tests/examples/batch_rows_test.cpp); products of fewer rows add
/// in another order.
inline constexpr std::int64_t least_batch = 8;

/// The best targets of each user: by `scores(rows)`, [rows,V] on the CPU, for the users of these
/// rows, whose histories are not empty, and by frequency for all others. The scores are
/// overwritten. Fewer users than least_batch are scored with copies of the last one, so that an
/// answer does not depend on the other users.
std::vector<std::vector<Recommendation>> best_of_users(
    const UserBatch& users, const Vocabulary& targets, std::int64_t count, bool probabilities,
    const std::function<Tensor(std::span<const std::int64_t> rows)>& scores);

/// Splits "a, b,c" or "a b c" into a, b and c, without empty entries. A text with a comma is split
/// only at commas, so that item names may contain blanks.
std::vector<std::string> split_list(std::string_view text);

}  // namespace refrain::examples
