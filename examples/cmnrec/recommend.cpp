#include <fmt/core.h>

#include <iostream>
#include <string>

#include "cmnrec/commands.hpp"
#include "cmnrec/network.hpp"
#include "common/behaviour.hpp"
#include "common/device.hpp"
#include "common/recommendation.hpp"
#include "common/standard_streams.hpp"

namespace refrain::cmnrec {
namespace {

/// One trained model, and how it answers.
class Answers {
 public:
  explicit Answers(const Options& options)
      : options_(options),
        saved_(load(options.checkpoint)),
        titles_(examples::titles_of(options.data.titles, options.data.skip_bad_lines)) {
    saved_.recommender->to(examples::device_of(options.run));
  }

  /// `history`: original ids, oldest first.
  void print(const std::string& label, const std::vector<std::string>& history) const {
    const Vocabulary& items = saved_.vocabulary;
    RaggedIds known;
    std::vector<std::int32_t> seen;
    std::string unknown;
    for (const std::string& item : history) {
      const std::int32_t id = items.find(item);
      if (id == unknown_id) {
        unknown += (unknown.empty() ? "" : ", ") + item;
      } else {
        known.add(id);
        if (!options_.recommend.keep_seen) seen.push_back(id);
      }
    }
    known.end_row();
    fmt::print("\n{} ({} items), {}\n", label, history.size(), saved_.setting.title());
    if (!unknown.empty()) fmt::print("  passed over, unknown to the model: {}\n", unknown);
    Tensor scores;
    if (known[0].empty()) {
      fmt::print("  no known item in the history: going by what is frequent\n");
      scores = examples::frequency_scores(items);
    } else {
      const std::vector<std::int64_t> rows{0};
      scores =
          saved_.recommender
              ->scores(
                  padded_batch(known, rows, saved_.setting.length).to(saved_.recommender->device()))
              .to(Device::cpu);
    }
    examples::print_items(
        items, examples::best(scores, options_.recommend.count, items.first_item(), seen), titles_);
    examples::flush_output();
  }

 private:
  const Options& options_;
  SavedModel saved_;
  std::optional<Titles> titles_;
};

}  // namespace

Outcome recommend(const Options& options) {
  if (options.data.files.empty() && !options.recommend.users.empty()) {
    throw OptionError(
        "--user: give the behaviour of the users with --data, or a history with --history");
  }
  const Answers answers(options);
  if (!options.recommend.users.empty()) {
    const Sequences behaviour = read_behaviour(options.data);
    for (const std::string& user : options.recommend.users) {
      answers.print("User " + user,
                    examples::item_names(behaviour, examples::row_of_user(behaviour, user)));
    }
  }
  for (const std::string& history : options.recommend.histories)
    answers.print("History", examples::split_list(history));
  if (!options.recommend.users.empty() || !options.recommend.histories.empty())
    return Outcome::done;
  fmt::print(
      "Reading histories from standard input, one a line: item,item,... (commas or blanks)\n");
  examples::flush_output();
  for (std::string line; std::getline(std::cin, line);)
    answers.print("History", examples::split_list(line));
  return Outcome::done;
}

}  // namespace refrain::cmnrec
