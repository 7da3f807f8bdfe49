/// From a log to a data set: contents of the parts, and the description.

#include <algorithm>

#include "refrain/data/batches.hpp"
#include "refrain/data/dataset.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// One row per text, one item per letter.
Sequences log_of(const std::vector<std::string>& rows) {
  Sequences log;
  for (const std::string& row : rows) {
    for (const char item : row) log.rows.add(log.items.intern(std::string(1, item)));
    log.rows.end_row();
  }
  return log;
}

std::vector<std::string> texts(const RaggedIds& rows, const Vocabulary& vocabulary) {
  std::vector<std::string> list;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    std::string& text = list.emplace_back();
    for (const std::int32_t id : rows[row]) text += vocabulary.name(id);
  }
  return list;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("dataset: leave-last-out predicts each user's last two items", "[data][dataset]") {
  const Dataset data =
      make_dataset(log_of({"abcabc", "ab", "cba", "abcd"}), {.leave_last_out = true});
  CHECK(texts(data.training, data.vocabulary) == Texts{"abca", "ab", "ab"});
  CHECK(texts(data.validation.rows, data.vocabulary) == Texts{"abcab", "cb", "abc"});
  CHECK(texts(data.test.rows, data.vocabulary) == Texts{"abcabc", "cba", "abcd"});
  CHECK(data.test.origin == std::vector<std::int64_t>{0, 2, 3});
  CHECK_FALSE(data.test.is_unseen);
  CHECK(data.users == 4);
  CHECK(data.events == 15);
  CHECK(data.text() ==
        "4 users, 4 items, 15 events; training on 3 sequences, validation on 3, test on 3 (the "
        "last two items of each user)");

  const Dataset rare = make_dataset(log_of({"abcabc", "ab", "cba", "abcd"}),
                                    {.min_count = 2, .min_length = 4, .leave_last_out = true});
  CHECK(rare.vocabulary.items() == 3);
  CHECK(texts(rare.training, rare.vocabulary) == Texts{"abca"});
  CHECK(texts(rare.validation.rows, rare.vocabulary) == Texts{"abcab"});
  CHECK(texts(rare.test.rows, rare.vocabulary) == Texts{"abcabc"});
}

TEST_CASE("dataset: a random split gives whole sequences or pieces to the parts",
          "[data][dataset]") {
  std::vector<std::string> rows;
  for (int i = 0; i < 20; ++i) rows.push_back("abcde");
  const SplitFractions fractions{.train = 0.5, .valid = 0.2, .test = 0.3};
  const Dataset whole = make_dataset(log_of(rows), {.fractions = fractions});
  CHECK(whole.training.rows() == 10);
  CHECK(whole.validation.rows.rows() == 4);
  CHECK(whole.test.rows.rows() == 6);
  CHECK(whole.test.is_unseen);

  const Dataset pieces = make_dataset(log_of(rows), {.fractions = fractions, .piece_length = 3});
  CHECK(pieces.training.rows() + pieces.validation.rows.rows() + pieces.test.rows.rows() == 40);
  std::vector<std::int64_t> origins = pieces.test.origin;
  origins.insert(origins.end(), pieces.validation.origin.begin(), pieces.validation.origin.end());
  std::sort(origins.begin(), origins.end());
  CHECK(std::adjacent_find(origins.begin(), origins.end()) == origins.end());

  const auto fingerprint = [&](DatasetOptions options) {
    options.fractions = fractions;
    return make_dataset(log_of(rows), options).fingerprint();
  };
  CHECK(fingerprint({.piece_length = 3}) == pieces.fingerprint());
  CHECK(fingerprint({.piece_length = 4}) != pieces.fingerprint());
  CHECK(whole.fingerprint() != pieces.fingerprint());
}

TEST_CASE("dataset: a file is read, and its format is reported", "[data][dataset]") {
  const ScratchFolder folder;
  const std::string path =
      folder.write("ratings.csv", generated_ratings(30, 12) + "no number,of fields\n");
  CHECK_THROWS_AS(read_dataset(path), DataError);
  const Dataset data = read_dataset(path, {.leave_last_out = true, .skip_bad_lines = 1});
  CHECK(data.users == 30);
  CHECK(data.vocabulary.items() == 12);
  CHECK(data.test.rows.rows() == 30);
  CHECK_THAT(data.text(), contains("ratings.csv, read as ratings_csv: user \"userId\""));
  CHECK_THAT(data.text(), contains("\n1 malformed line passed over; the first is line "));
  CHECK_THAT(data.text(), contains("30 users, 12 items, "));
}

TEST_CASE("dataset: an existing vocabulary keeps its numbering", "[data][dataset]") {
  const Dataset before = make_dataset(log_of({"aabbcc", "abcabc"}), {.leave_last_out = true});
  const Dataset after =
      make_dataset(log_of({"xbcaxbca"}), before.vocabulary, {.leave_last_out = true});
  CHECK(after.vocabulary == before.vocabulary);
  CHECK(texts(after.test.rows, after.vocabulary) == Texts{"bcabca"});
}

TEST_CASE("dataset: invalid arguments are rejected", "[data][dataset][errors]") {
  const Sequences log = log_of({"abcabc", "ab"});
  const auto refused = [&](DatasetOptions options, const std::string& text) {
    CHECK_THROWS_MATCHES(make_dataset(log, options), OptionError, message_contains(text));
  };
  refused({.min_count = 4}, "expected at least 2 items to be left, got 0 of 3");
  refused({.min_length = 1}, "min_length: expected at least 2 items");
  refused({.min_length = 5, .piece_length = 4}, "expected 0 or at least min_length (5), got 4");
  refused({.min_length = 9}, "none of 2 users has 9 known items left");
  refused({.fractions = {.train = 0.5, .valid = 0.1, .test = 0.1}}, "sum to 1");
}

TEST_CASE("batches: next-item batches of one epoch hold every piece once", "[data][batches]") {
  const Dataset data =
      make_dataset(log_of({"abcdefgh", "hgfedcba", "b"}), {.leave_last_out = true});
  NextItemBatches batches(data.training, {.length = 3, .batch_size = 2, .seed = 1});
  CHECK(batches.pieces() == 4);  // of two users: 4 and 2 items each
  CHECK(batches.steps_per_epoch() == 2);
  std::vector<std::string> seen;
  for (std::int64_t step = 0; step < 2; ++step) {
    const SequenceBatch batch = batches(0, step);
    CHECK(batch.ids.shape() == Shape{2, 3});
    for (std::int64_t b = 0; b < 2; ++b) {
      std::string& text = seen.emplace_back();
      for (std::int64_t t = 0; t < 3; ++t) {
        const std::int32_t target = batch.targets.data<std::int32_t>()[b * 3 + t];
        text += target == padding_id ? "." : std::string(data.vocabulary.name(target));
      }
    }
  }
  std::sort(seen.begin(), seen.end());
  CHECK(seen == Texts{".ab", ".hg", "def", "edc"});
  CHECK_THROWS_AS(batches(0, 2), OptionError);
  CHECK_THROWS_AS(NextItemBatches(data.training, {.length = 0, .batch_size = 2}), OptionError);
  CHECK_THROWS_AS(NextItemBatches(data.training, {.length = 3, .batch_size = 2, .min_length = 5}),
                  OptionError);
  CHECK_THROWS_MATCHES(
      NextItemBatches(data.training, {.length = 20, .batch_size = 2, .min_length = 7}), OptionError,
      message_contains("expected a sequence of at least 7 items"));
}

TEST_CASE("batches: the last target only", "[data][batches]") {
  const Tensor ids = Tensor::from<std::int32_t>({2, 3}, {4, 5, 6, 0, 7, 8});
  CHECK(integers(last_ids(ids)) == std::vector<std::int32_t>{6, 8});
  CHECK(integers(only_last_ids(ids)) == std::vector<std::int32_t>{0, 0, 6, 0, 0, 8});
  RaggedIds rows;
  rows.push_back(std::vector<std::int32_t>{4, 5, 6});
  NextItemBatches batches(rows, {.length = 2, .batch_size = 1, .positions = LossPositions::last});
  CHECK(integers(batches(0, 0).targets) == std::vector<std::int32_t>{0, 6});
}
