/// --search in the example programs: candidates, the record in files, and the training of
/// candidates from round to round.

#include "common/search.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "cmnrec/config.hpp"
#include "peterrec/config.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "train/trainer_runs.hpp"

using namespace refrain;
using namespace refrain::test;
using examples::SearchCandidate;
using examples::SearchOptions;
using examples::SearchRecord;
using Json = nlohmann::json;

namespace {

/// The training of a small network; `calls` receives each training step as learning rate and epoch.
using Calls = std::vector<std::pair<double, std::int64_t>>;
struct Objective {
  std::shared_ptr<SmallNetwork> network;
  double rate;
  Calls& calls;

  std::int64_t steps_per_epoch() const { return 1; }
  TensorBatch batch(std::int64_t epoch, std::int64_t, BatchSlice) const {
    calls.emplace_back(rate, epoch);
    return {random_ids(8, 30, static_cast<std::uint64_t>(epoch))};
  }
  Variable loss(const TensorBatch& batch) const { return network->loss(batch.tensor); }
};

examples::Training training_of(const std::shared_ptr<SmallNetwork>& network, double rate,
                               Calls& calls) {
  return examples::training_of(
      *network, std::make_unique<Sgd>(*network, SgdOptions{.learning_rate = rate}),
      std::make_shared<Objective>(Objective{network, rate, calls}),
      {.name = "loss", .larger_is_better = false, .measure = [network](Communicator*) {
         return static_cast<double>(network->loss(random_ids(20, 30, 999)).item());
       }});
}

std::optional<SearchRecord> run_search(const SearchOptions& options, Calls& calls,
                                       examples::TrainPlace place = {.label = "small"}) {
  const examples::TrainOptions train{.epochs = 100, .patience = 100, .clip = 0};
  return examples::search(options, train, place, [&](const SearchCandidate& candidate) {
    const auto network = std::make_shared<SmallNetwork>(std::uint64_t{5});
    return examples::SearchedTraining{network,
                                      training_of(network, candidate.learning_rate, calls)};
  });
}

SearchRecord record() {
  return {.metric = "held-out loss",
          .first_epochs = 3,
          .candidates = {{.learning_rate = 0.001, .dropout = 0.2, .epochs = 6, .figure = 3.25},
                         {.learning_rate = 0.01, .dropout = 0.2, .epochs = 3}},
          .chosen = 0};
}

SearchRecord read_back(const Json& json) {
  return examples::search_record({json.dump(), "file", 0, "invalid configuration"});
}

void check_same(const SearchRecord& a, const SearchRecord& b) {
  CHECK(examples::json_of(a).dump() == examples::json_of(b).dump());
}

}  // namespace

TEST_CASE("example search: each learning rate with each dropout, all different", "[example]") {
  const std::vector<SearchCandidate> all =
      examples::candidates_of({.learning_rates = {0.01, 0.001}, .dropouts = {0.5, 0}});
  REQUIRE(all.size() == 4);
  CHECK(all[0].text() == "learning rate 0.01, dropout 0.5");
  CHECK(all[1].text() == "learning rate 0.01, dropout 0");
  CHECK(all[3].text() == "learning rate 0.001, dropout 0");
  CHECK(examples::candidates_of({}).size() == 4);
  CHECK(examples::candidates_of({}).front().text() == "learning rate 0.0003");
  CHECK_THROWS_WITH(examples::candidates_of({.learning_rates = {0.01}}),
                    "--search: expected at least two candidates, got learning rate 0.01");
  CHECK_THROWS_WITH(examples::candidates_of({.learning_rates = {0.1, 0.2, 0.1}}),
                    "--search: expected different values, got 0.1 twice");
  CHECK_THROWS_WITH(examples::candidates_of({.dropouts = {0.5, 0.5}}),
                    "--search-dropout: expected different values, got 0.5 twice");
  CHECK(examples::candidates_of({.learning_rates = {0.01}, .dropouts = {0, 0.5}}).size() == 2);
  CHECK_THROWS_WITH(examples::expect_searchable(1, 1),
                    "--search: expected at least two training examples, got 1");
  CHECK_THROWS_WITH(examples::expect_searchable(2, 0),
                    contains("--search: expected users in the validation part, got none"));
  CHECK_NOTHROW(examples::expect_searchable(2, 1));
}

TEST_CASE("example search: a record is read back, and refused when it is damaged",
          "[example][reliability]") {
  const Json json = examples::json_of(record());
  const SearchRecord stored = read_back(json);
  check_same(stored, record());
  CHECK(std::isnan(stored.candidates[1].figure));
  CHECK(stored.setting() == record().setting());
  CHECK(stored.summary() ==
        "chose learning rate 0.001, dropout 0.2 among 2 candidates: best "
        "held-out loss 3.2500 in at most 6 epochs");
  const auto refuses = [&](const char* path, const Json& value, const std::string& text) {
    Json damaged = json;
    damaged[Json::json_pointer(path)] = value;
    CHECK_THROWS_WITH(read_back(damaged), contains(text));
  };
  refuses("/chosen", 2, "expected \"chosen\" to be a whole number from 0 to 1, got 2");
  refuses("/chosen", -1, "\"chosen\"");
  refuses("/first_epochs", 0, "\"first_epochs\"");
  refuses("/metric", 1, "\"metric\"");
  refuses("/candidates", Json::array(), "expected at least two candidates");
  refuses("/candidates/0", 1, "expected an object");
  refuses("/candidates/1/learning_rate", 0, "expected learning rates above 0");
  refuses("/candidates/1/learning_rate", nullptr, "expected learning rates above 0");
  refuses("/candidates/1/dropout", 1.5, "\"dropout\"");
  refuses("/candidates/0/epochs", 0.5, "\"epochs\"");
  refuses("/candidates/0/figure", "low", "\"figure\"");
}

TEST_CASE("example search: model files and patch files keep the record", "[example]") {
  const auto info = [](const std::string& config) {
    CheckpointInfo made;
    made.metadata = {{"config", config}};
    made.elements = 1'000'000;
    return made;
  };
  const peterrec::NextItNet::Options network{.items = 500, .channels = 32, .dilations = {1, 4}};
  peterrec::BaseNote base;
  base.search = record();
  check_same(
      peterrec::base_config(info(peterrec::config_text(network, base)), "file").note.search.value(),
      record());
  peterrec::PatchNote patch;
  patch.split = {0.7, 0.1, 0.2};
  patch.search = record();
  const peterrec::PatchSet::Options set{.head = {.targets = 2}};
  check_same(peterrec::patch_config(info(peterrec::config_text(set, patch)), "file", network)
                 .note.search.value(),
             record());
  cmnrec::ModelConfig model{.model = {.words = 4, .hidden = 32, .embedding = 16}};
  CHECK_FALSE(cmnrec::model_config(info(cmnrec::config_text(model)), "file", 500).search);
  CHECK(cmnrec::config_text(model).find("search") == std::string::npos);
  model.search = record();
  check_same(cmnrec::model_config(info(cmnrec::config_text(model)), "file", 500).search.value(),
             record());
}

TEST_CASE("example search: a candidate continues from round to round", "[example]") {
  Calls calls;
  const std::optional<SearchRecord> found =
      run_search({.learning_rates = {0.0001, 0.1, 1e30, 0.01}, .epochs = 2}, calls);
  REQUIRE(found);
  CHECK(found->choice().learning_rate == 0.1);
  CHECK(found->choice().epochs == 100);  // the last two train to the end
  CHECK(found->candidates[0].epochs == 2);
  CHECK(std::isnan(found->candidates[2].figure));
  const auto epochs_of = [&](double rate) {
    std::vector<std::int64_t> epochs;
    for (const auto& [used, epoch] : calls) {
      if (used == rate) epochs.push_back(epoch);
    }
    return epochs;
  };
  CHECK(epochs_of(0.0001) == std::vector<std::int64_t>{0, 1});
  std::vector<std::int64_t> all(100);
  std::iota(all.begin(), all.end(), 0);
  CHECK(epochs_of(0.1) == all);
  CHECK(epochs_of(0.01) == all);
  // The figure is that of one run over as many epochs.
  Calls others;
  const auto network = std::make_shared<SmallNetwork>(std::uint64_t{5});
  const examples::TrainReport whole =
      examples::train(training_of(network, 0.1, others),
                      {.epochs = 100, .patience = 100, .clip = 0}, {.label = "whole"});
  CHECK(found->choice().figure == whole.best);
  CHECK_THROWS_WITH(run_search({.learning_rates = {1e30, 1e31}, .epochs = 2}, calls),
                    contains("none of the 2 candidates has a finite figure"));
}

TEST_CASE("example search: an interruption ends it, a state file has its result", "[example]") {
  Calls calls;
  const auto interrupted = examples::search(
      {.epochs = 2}, {}, {.label = "small"}, [&](const SearchCandidate& candidate) {
        const auto network = std::make_shared<SmallNetwork>(std::uint64_t{5});
        examples::Training training = training_of(network, candidate.learning_rate, calls);
        training.validation.measure = [](Communicator*) {
          InterruptGuard::request();
          return 1.0;
        };
        return examples::SearchedTraining{network, std::move(training)};
      });
  CHECK_FALSE(interrupted);
  CHECK(calls == Calls{{0.0003, 0}});
  InterruptGuard::clear();

  const ScratchFolder folder;
  const std::string file = folder.path("state");
  const SearchOptions options{.learning_rates = {0.1, 0.01}, .epochs = 1};
  examples::TrainPlace place{.label = "small", .state_file = file};
  const SearchRecord first = run_search(options, calls, place).value();
  examples::keep_search(place, first);
  const auto network = std::make_shared<SmallNetwork>(std::uint64_t{5});
  examples::train(training_of(network, 0.1, calls), {.epochs = 1}, place);
  calls.clear();
  check_same(run_search(options, calls, place).value(), first);
  CHECK(calls.empty());
  for (const SearchOptions& other : {SearchOptions{.learning_rates = {0.1, 0.02}, .epochs = 1},
                                     SearchOptions{.learning_rates = {0.1, 0.01}, .epochs = 2}}) {
    CHECK_THROWS_WITH(run_search(other, calls, place),
                      contains("keeps the state of another run: search: expected learning rate"));
  }
  const std::string plain = folder.path("plain");
  examples::train(training_of(network, 0.1, calls), {.epochs = 1},
                  {.label = "small", .state_file = plain});
  CHECK_THROWS_WITH(run_search(options, calls, {.label = "small", .state_file = plain}),
                    contains("keeps the state of a run without --search"));
}
