/// recommend(): the same answers as the scores of a training batch, from a model in memory and from
/// its file.

#include "refrain/serve/recommend.hpp"
#include "refrain/data/dataset.hpp"
#include "refrain/train/model_file.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/ragged.hpp"
#include "support/scratch.hpp"
#include "support/small_recommender.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

Dataset generated() {
  const ScratchFolder folder;
  return read_dataset(folder.write("ratings.csv", generated_ratings(30, 12)),
                      {.leave_last_out = true});
}

std::vector<std::string> items_of(const std::vector<Recommendation>& list) {
  std::vector<std::string> items;
  for (const Recommendation& each : list) items.push_back(each.item);
  return items;
}

}  // namespace

TEST_CASE("recommend: a history is read as training reads it", "[serve][recommend]") {
  const Dataset data = generated();
  SmallRecommender model(data.vocabulary.size(), {.length = 6, .keep = 0.5});
  for (const std::vector<std::string>& history :
       {std::vector<std::string>{"12", "7"}, {"3"}, {"1", "2", "3", "4", "5", "6", "7", "8"}}) {
    const std::vector<Recommendation> all = recommend(model, data.vocabulary, history, 100);
    // The same history in a training batch: with a next item, which is no input.
    RaggedIds rows;
    for (const std::string& item : history) rows.add(data.vocabulary.find(item));
    rows.add(data.vocabulary.find("1"));
    rows.end_row();
    const std::int64_t row[] = {0};
    model.eval();
    const Tensor scores = model.scores(next_item_batch(rows, row, model.length() + 1).ids);
    model.train();
    CHECK(all.size() == 12 - history.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i].score == scores.data<float>()[data.vocabulary.find(all[i].item)]);
      if (i > 0) CHECK(all[i].score <= all[i - 1].score);
      CHECK(std::find(history.begin(), history.end(), all[i].item) == history.end());
    }
    const std::vector<Recommendation> two = recommend(model, data.vocabulary, history, 2);
    CHECK(items_of(two) == std::vector<std::string>{all[0].item, all[1].item});
    CHECK(recommend(model, data.vocabulary, history, 100, {.leave_out_seen = false}).size() == 12);
  }
  CHECK(model.is_training());
}

TEST_CASE("recommend: a batch of histories has the answers of single ones", "[serve][recommend]") {
  const Dataset data = generated();
  SmallRecommender model(data.vocabulary.size(), {.length = 6, .keep = 0.5});
  RaggedIds histories;
  for (std::int32_t user = 0; user < 41; ++user) {
    for (std::int32_t item = 0; item <= user % 9; ++item)
      histories.add(special_ids + (user * 5 + item * 7) % data.vocabulary.items());
    histories.end_row();
  }
  for (const bool leave_out : {true, false}) {
    const RecommendOptions options{.leave_out_seen = leave_out};
    const auto together = recommend_batch(model, data.vocabulary, histories, 5, options);
    REQUIRE(std::ssize(together) == histories.rows());
    for (std::int64_t row = 0; row < histories.rows(); ++row) {
      std::vector<std::string> history;
      for (const std::int32_t id : histories[row]) history.emplace_back(data.vocabulary.name(id));
      const auto alone = recommend(model, data.vocabulary, history, 5, options);
      const auto& got = together[static_cast<std::size_t>(row)];
      CHECK(items_of(got) == items_of(alone));
      for (std::size_t i = 0; i < alone.size(); ++i)
        CHECK(got[i].score == Approx(alone[i].score).epsilon(1e-5));
    }
  }
  CHECK(model.is_training());
  CHECK(recommend_batch(model, data.vocabulary, {}, 5).empty());
}

TEST_CASE("recommend: rows of scores have their own exclusions and probabilities",
          "[serve][recommend]") {
  const Vocabulary targets(std::vector<std::string>{"a", "b", "c"},
                           std::vector<std::int64_t>{3, 2, 1}, {.specials = false});
  const Tensor scores = Tensor::from<float>({2, 3}, {0, 2, 1, 5, 5, 4});
  const auto best = best_items_of_rows(scores.clone(), targets, 3, ragged({{1}, {}}), true);
  REQUIRE(best.size() == 2);
  CHECK(items_of(best[0]) == std::vector<std::string>{"c", "a"});
  CHECK(items_of(best[1]) == std::vector<std::string>{"a", "b", "c"});
  CHECK(*best[0][0].probability == Approx(1 / (1 + std::exp(-1.0))));
  for (std::int64_t row = 0; row < 2; ++row) {
    const std::vector<std::int32_t> excluded = row == 0 ? Ids{1} : Ids{};
    const auto alone = best_items(scores.slice(row, row + 1).clone(), targets, 3, excluded, true);
    const auto& got = best[static_cast<std::size_t>(row)];
    REQUIRE(got.size() == alone.size());
    for (std::size_t i = 0; i < alone.size(); ++i) {
      CHECK(got[i].score == alone[i].score);
      CHECK(got[i].probability == alone[i].probability);
    }
  }
  CHECK(best_items_of_rows(scores.clone(), targets, 1, {}).size() == 2);
  CHECK_THROWS_MATCHES(best_items_of_rows(scores.clone(), targets, 1, ragged({{1}})), OptionError,
                       message_contains("expected 2 rows of excluded ids, one for each row of "
                                        "scores, got 1"));
}

TEST_CASE("recommend: a saved model gives the same answers", "[serve][recommend]") {
  const Dataset data = generated();
  SmallRecommender model(data.vocabulary.size(), {.length = 6});
  const ScratchFolder folder;
  const std::string path = folder.path("net.safetensors");
  save_model(path, model, data.vocabulary, {{"note", "a test"}});

  Checkpoint file = read_checkpoint(path);
  CHECK(file.info.kind == "model");
  const Vocabulary vocabulary = vocabulary_of(file);
  CHECK(vocabulary == data.vocabulary);
  SmallRecommender other(vocabulary.size(), {.length = 6, .seed = 9});
  const Metadata texts = load_model(std::move(file), other);
  CHECK(texts.at("note") == "a test");
  CHECK(texts.at("length") == "6");
  const auto expected = recommend(model, data.vocabulary, {"12", "7"}, 5);
  const auto got = recommend(other, vocabulary, {"12", "7"}, 5);
  REQUIRE(got.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(got[i].item == expected[i].item);
    CHECK(got[i].score == expected[i].score);
  }

  // With another length a history would be padded differently than in training.
  SmallRecommender longer(vocabulary.size(), {.length = 7});
  CHECK_THROWS_MATCHES(load_model(path, longer), DataError,
                       message_contains("reads the newest 6 items of a history, expected 7"));
  const std::string plain = folder.path("plain.safetensors");
  save_model(plain, model);
  load_model(plain, longer);
  CHECK_THROWS_MATCHES(vocabulary_of(read_checkpoint(plain)), DataError,
                       message_contains("expected a text 'vocabulary', got none"));
}

TEST_CASE("recommend: invalid arguments are rejected", "[serve][recommend][errors]") {
  const Dataset data = generated();
  SmallRecommender model(data.vocabulary.size(), {});
  CHECK_THROWS_MATCHES(
      recommend(model, data.vocabulary, {"12", "tea", "[PAD]", "7", "milk"}, 10), OptionError,
      message_contains("expected items of the vocabulary, got 'tea', '[PAD]', 'milk'"));
  CHECK_THROWS_MATCHES(recommend(model, data.vocabulary, {}, 10), OptionError,
                       message_contains("a history of at least one item, got none"));
  CHECK_THROWS_MATCHES(recommend(model, data.vocabulary, {"12"}, 0), OptionError,
                       message_contains("expected k of at least 1, got 0"));
  CHECK_THROWS_MATCHES(recommend_batch(model, data.vocabulary, ragged({{4}, {}}), 10), OptionError,
                       message_contains("a history of at least one item, got none"));
  CHECK_THROWS_MATCHES(recommend_batch(model, data.vocabulary, ragged({{4}, {unknown_id}}), 10),
                       OptionError, message_contains("expected ids of items, got 3"));
  SmallRecommender smaller(data.vocabulary.size() - 1, {});
  const std::string first(data.vocabulary.name(special_ids));
  CHECK_THROWS_MATCHES(recommend(smaller, data.vocabulary, {first}, 1), ShapeError,
                       message_contains("expected scores [1,16]"));
}
