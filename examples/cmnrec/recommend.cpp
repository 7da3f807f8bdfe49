#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cmnrec/commands.hpp"
#include "cmnrec/data.hpp"
#include "cmnrec/network.hpp"
#include "common/all_users.hpp"
#include "common/answers.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"
#include "refrain/serve/recommend.hpp"

namespace refrain::cmnrec {
namespace {

using examples::Answer;
using examples::Answered;
using examples::Request;
using examples::UserBatch;

constexpr const char* task = "next";

/// Answers requests with a model.
class Answers {
 public:
  Answers(const SavedModel& saved, const examples::RecommendOptions& options)
      : model_(*saved.model), vocabulary_(saved.vocabulary), options_(options) {}

  Answer answer(const Request& request) const {
    std::vector<std::string> known = request.history;
    Answer answer{.task = task, .unknown = examples::remove_unknown(known, vocabulary_)};
    answer.is_by_frequency = known.empty();
    RaggedIds history;
    history.push_back(ids_of(vocabulary_, known));
    answer.best = std::move(best(std::move(history)).front());
    return answer;
  }

  /// Answers for the users [begin, end) of a log, whose items have these ids.
  std::vector<Answered> answer(const Sequences& log, std::span<const std::int32_t> ids,
                               std::int64_t begin, std::int64_t end) const {
    RaggedIds histories;
    std::vector<Answered> answers(static_cast<std::size_t>(end - begin));
    for (std::int64_t row = begin; row < end; ++row) {
      Answered& each = answers[static_cast<std::size_t>(row - begin)];
      each.request.user = examples::user_name(log, row);
      each.answer.task = task;
      for (const std::int32_t item : log.rows[row]) {
        const std::int32_t id = ids[static_cast<std::size_t>(item)];
        if (id >= vocabulary_.first_item()) {
          histories.add(id);
        } else {
          each.answer.unknown.emplace_back(log.items[item]);
        }
      }
      histories.end_row();
      each.answer.is_by_frequency = histories[row - begin].empty();
    }
    std::vector<std::vector<Recommendation>> lists = best(std::move(histories));
    for (std::size_t user = 0; user < answers.size(); ++user)
      answers[user].answer.best = std::move(lists[user]);
    return answers;
  }

 private:
  /// The best items after each history.
  std::vector<std::vector<Recommendation>> best(RaggedIds histories) const {
    UserBatch users{.histories = std::move(histories)};
    if (options_.keep_seen) {
      for (std::int64_t row = 0; row < users.histories.rows(); ++row) users.seen.end_row();
    } else {
      users.seen = users.histories;
    }
    return examples::best_of_users(
        users, vocabulary_, options_.count, false, [&](std::span<const std::int64_t> rows) {
          const Tensor ids = padded_batch(users.histories, rows, model_.length());
          return model_.scores(ids.to(model_.device())).to(Device::cpu);
        });
  }

  NextItemModel& model_;
  const Vocabulary& vocabulary_;
  const examples::RecommendOptions& options_;
};

Outcome recommend_all(const Answers& answers, const SavedModel& saved,
                      const std::optional<Titles>& titles, const Options& options) {
  if (options.log.files.empty())
    throw OptionError("--all: expected the users' behaviour in --data, got none");
  const Sequences log = read_behaviour(options.log);
  const std::vector<std::int32_t> ids = examples::ids_of_items(log.items, saved.vocabulary);
  return examples::recommend_all(
      options.recommend, options.run, titles,
      {.users = log.rows.rows(),
       .batch = examples::users_at_once(saved.vocabulary.size()),
       .settings = {{"program", "cmnrec"},
                    {"model", examples::hash_of_file(options.model_file)},
                    {"data", examples::hash_of(log)}},
       .answer = [&](std::int64_t begin, std::int64_t end) {
         return answers.answer(log, ids, begin, end);
       }});
}

}  // namespace

Outcome recommend(const Options& options) {
  const examples::RecommendOptions& asked = options.recommend;
  if (options.log.files.empty() && !asked.users.empty()) {
    throw OptionError(
        "--user: expected the users' behaviour in --data, got none; give --data, or a history with "
        "--history");
  }
  const SavedModel saved = load(options.model_file);
  saved.model->to(examples::device_of(options.run));
  const std::optional<Titles> titles = examples::titles_of(options.log);
  const Answers answers(saved, asked);
  if (asked.all) return recommend_all(answers, saved, titles, options);
  examples::AnswerPrinter printer(asked.output, titles);
  Sequences behaviour;
  if (!asked.users.empty()) behaviour = read_behaviour(options.log);
  examples::answer_requests(
      asked, printer, false,
      [&](const std::string& user) -> Request {
        return {.user = user,
                .history = examples::item_names(behaviour, examples::row_of_user(behaviour, user))};
      },
      [&](const Request& request) { printer.print(request, answers.answer(request)); });
  return Outcome::done;
}

}  // namespace refrain::cmnrec
