/// From users with targets to fine-tuning examples: contents of the parts, and their hash.

#include <algorithm>
#include <map>

#include "refrain/data/transfer_dataset.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// One row per text, one item per letter.
Sequences rows_of(const std::vector<std::string>& rows) {
  Sequences log;
  for (const std::string& row : rows) {
    for (const char item : row) log.rows.add(log.items.intern(std::string(1, item)));
    log.rows.end_row();
  }
  return log;
}

/// "history>target" of each example.
std::vector<std::string> examples_of(const TransferDataset& data, const TransferExamples& part,
                                     const Vocabulary& source) {
  std::vector<std::string> list;
  for (std::size_t i = 0; i < part.target.size(); ++i) {
    std::string& text = list.emplace_back();
    for (const std::int32_t id : data.sources[part.source[i]]) text += source.name(id);
    text += ">";
    text += data.targets.name(part.target[i]);
  }
  return list;
}

using Texts = std::vector<std::string>;

TransferSequences pairs_of(std::int64_t users) {
  std::vector<std::string> sources, targets;
  for (std::int64_t user = 0; user < users; ++user) {
    sources.push_back(user == 0 ? "?" : std::string(1, static_cast<char>('a' + user % 26)));
    targets.push_back(user % 3 == 0 ? "xy" : "x");
  }
  return {rows_of(sources), rows_of(targets)};
}

}  // namespace

TEST_CASE("transfer dataset: whole users go to one part, each target is an example",
          "[data][dataset]") {
  TransferSequences pairs = pairs_of(100);
  Sequences known = pairs.source;
  known.rows = RaggedIds();
  for (std::int64_t row = 1; row < 100; ++row) known.rows.push_back(pairs.source.rows[row]);
  const Vocabulary source = Vocabulary::build(known);  // row 0 has no known item
  const TransferDataset data = make_transfer_dataset(
      pairs, source, {.fractions = {.train = 0.5, .valid = 0.2, .test = 0.3}, .split_seed = 3});
  CHECK(data.users == 100);
  CHECK(data.seen.rows() == data.sources.rows());
  CHECK(data.seen.total() == 0);
  CHECK_FALSE(data.targets.has_specials());
  CHECK(data.targets.name(0) == "x");
  std::map<std::int64_t, int> part_of;
  std::int64_t examples = 0;
  int part = 0;
  for (const TransferExamples* each : {&data.training, &data.validation, &data.test}) {
    ++part;
    examples += each->size();
    for (const std::int64_t row : each->source) {
      CHECK(row != 0);
      const auto [found, is_new] = part_of.emplace(row, part);
      CHECK(found->second == part);
    }
  }
  CHECK(part_of.size() == 99);
  CHECK(examples == 100 + 34 - 2);  // every third user has two targets; row 0 has no examples
  CHECK(data.training.size() > data.test.size());
  CHECK(data.test.size() > data.validation.size());

  const std::vector<std::string> names{"y", "x"};
  const Vocabulary kept(names, std::vector<std::int64_t>{9, 1}, {.specials = false});
  const TransferDataset again = make_transfer_dataset(pairs, source, {}, &kept);
  CHECK(again.targets == kept);
  const TransferDataset frequent = make_transfer_dataset(pairs, source, {.min_count = 50});
  CHECK(frequent.targets.items() == 1);
  CHECK_THROWS_AS(make_transfer_dataset(pairs, source, {.fractions = {0.5, 0.5, 0.5}}),
                  OptionError);
}

TEST_CASE("transfer dataset: the hash is of the test part's users, in any order",
          "[data][dataset]") {
  const auto hash_of = [](const std::vector<std::string>& sources,
                          const std::vector<std::string>& targets) {
    const TransferSequences pairs{rows_of(sources), rows_of(targets)};
    return make_transfer_dataset(pairs, Vocabulary::build(pairs.source),
                                 {.fractions = {.train = 0, .valid = 0, .test = 1}})
        .test_hash;
  };
  const std::string hash = hash_of({"ab", "cd", "ef"}, {"x", "y", "x"});
  CHECK(hash.size() == 16);
  CHECK(hash == hash_of({"ef", "ab", "cd"}, {"x", "x", "y"}));
  CHECK(hash != hash_of({"ab", "cd", "ef"}, {"x", "y", "y"}));
  CHECK(hash != hash_of({"ab", "cd", "fe"}, {"x", "y", "x"}));
}

TEST_CASE("next-item dataset: the last items of each user, after the newest before them",
          "[data][dataset]") {
  const Sequences log = rows_of({"abcdefgh", "abc", "hgfa"});
  const Vocabulary source = Vocabulary::build(log);
  const TransferDataset data = make_next_item_dataset(log, source, 3, 2);
  CHECK(data.users == 3);
  CHECK(examples_of(data, data.training, source) == Texts{"bcd>e", "cde>f", "h>g"});
  CHECK(examples_of(data, data.validation, source) == Texts{"def>g", "hg>f"});
  CHECK(examples_of(data, data.test, source) == Texts{"efg>h", "hgf>a"});
  CHECK_FALSE(data.targets.has_specials());
  CHECK(data.targets.size() == source.items());
  // The whole history has been seen.
  CHECK(data.seen[data.test.source[0]].size() == 7);
  for (const std::int32_t id : data.seen[data.test.source[1]])
    CHECK(std::string("hgf").find(data.targets.name(id)) != std::string::npos);
  CHECK(data.test_hash ==
        make_next_item_dataset(rows_of({"abcdefgh", "abc", "hgfa"}), source, 5).test_hash);
  CHECK(data.test_hash !=
        make_next_item_dataset(rows_of({"abcdefgh", "abc", "hgfb"}), source, 3).test_hash);
  CHECK(make_next_item_dataset(log, source, 3).training.size() == 5 + 1);
  CHECK(make_next_item_dataset(log, source, 3, 0).training.size() == 0);
  CHECK_THROWS_AS(make_next_item_dataset(log, source, 0), OptionError);
  CHECK_THROWS_AS(make_next_item_dataset(log, source, 3, -1), OptionError);
}

TEST_CASE("transfer dataset: a share of the examples is one of whole rows", "[data][dataset]") {
  TransferExamples all;
  for (std::int64_t row = 0; row < 40; ++row) {
    for (std::int32_t target = 0; target < 3; ++target) {
      all.source.push_back(row);
      all.target.push_back(target);
    }
  }
  const TransferExamples few = sample_examples(all, 0.25, 7);
  CHECK(few.size() == 30);
  CHECK(std::is_sorted(few.source.begin(), few.source.end()));
  for (std::size_t i = 0; i < few.target.size(); ++i)
    CHECK(few.target[i] == static_cast<std::int32_t>(i % 3));
  CHECK(few.source == sample_examples(all, 0.25, 7).source);
  CHECK(few.source != sample_examples(all, 0.25, 8).source);
  CHECK(sample_examples(all, 1e-6, 1).size() == 3);
  CHECK(sample_examples(all, 1, 1).source == all.source);
  CHECK_THROWS_AS(sample_examples(all, 0, 1), OptionError);
  CHECK_THROWS_AS(sample_examples(all, 1.5, 1), OptionError);
}
