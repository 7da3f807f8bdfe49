#include "refrain/serve/recommend.hpp"
#include "cmnrec/commands.hpp"
#include "cmnrec/data.hpp"
#include "cmnrec/network.hpp"
#include "common/answers.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"

namespace refrain::cmnrec {

Outcome recommend(const Options& options) {
  const examples::RecommendOptions& asked = options.recommend;
  if (options.log.files.empty() && !asked.users.empty()) {
    throw OptionError(
        "--user: expected the users' behaviour in --data, got none; give --data, or a history with "
        "--history");
  }
  const SavedModel saved = load(options.model_file);
  const Vocabulary& vocabulary = saved.vocabulary;
  saved.model->to(examples::device_of(options.run));
  const std::optional<Titles> titles = examples::titles_of(options.log);
  examples::AnswerPrinter printer(asked.output, titles);
  Sequences behaviour;
  if (!asked.users.empty()) behaviour = read_behaviour(options.log);
  examples::answer_requests(
      asked, printer, false,
      [&](const std::string& user) -> examples::Request {
        return {.user = user,
                .history = examples::item_names(behaviour, examples::row_of_user(behaviour, user))};
      },
      [&](const examples::Request& request) {
        std::vector<std::string> known = request.history;
        examples::Answer answer{.task = "next",
                                .unknown = examples::remove_unknown(known, vocabulary)};
        answer.is_by_frequency = known.empty();
        answer.best =
            known.empty()
                ? best_items(examples::frequency_scores(vocabulary), vocabulary, asked.count, {})
                : refrain::recommend(*saved.model, vocabulary, known, asked.count,
                                     {.leave_out_seen = !asked.keep_seen});
        printer.print(request, answer);
      });
  return Outcome::done;
}

}  // namespace refrain::cmnrec
