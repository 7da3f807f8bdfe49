/// Vocabularies and interned strings.

#include <map>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/data/vocabulary.hpp"
#include "support/catch.hpp"
#include "support/ragged.hpp"

using namespace refrain;
using refrain::test::contains;
using refrain::test::message_contains;
using refrain::test::sequences_of;

namespace {

std::vector<std::int32_t> row(const RaggedIds& ids, std::int64_t at) {
  return {ids[at].begin(), ids[at].end()};
}

const Sequences sample = sequences_of({{"b", "a", "c"}, {"c", "a"}, {"d", "c", "rare"}});

}  // namespace

TEST_CASE("string_table: agrees with a map over many strings", "[data]") {
  detail::StringTable table;
  std::map<std::string, std::int32_t> expected;
  Random random(5);
  for (int i = 0; i < 50000; ++i) {
    const std::string text(static_cast<std::size_t>(random.below(20)),
                           static_cast<char>(random.below(256)));
    const std::string id = i % 3 == 0 ? text : std::to_string(random.below(20000));
    const auto [at, is_new] = expected.emplace(id, static_cast<std::int32_t>(expected.size()));
    REQUIRE(table.intern(id) == at->second);
  }
  CHECK(table.size() == static_cast<std::int32_t>(expected.size()));
  for (const auto& [text, number] : expected) {
    REQUIRE(table.find(text) == number);
    REQUIRE(table[number] == text);
  }
  CHECK(table.find("absent") == absent_id);
  CHECK(detail::StringTable().find("absent") == detail::StringTable::absent);
  CHECK_THROWS_AS(table[table.size()], OptionError);
  CHECK_THROWS_AS(table[-1], OptionError);
}

TEST_CASE(
    "vocabulary: items by decreasing frequency, ties by first appearance, after the special ids",
    "[data]") {
  const Vocabulary vocabulary = Vocabulary::build(sample);
  CHECK(vocabulary.size() == 9);
  CHECK(vocabulary.items() == 5);
  CHECK(vocabulary.first_item() == 4);
  const std::vector<std::string> names{"[PAD]", "[TCL]", "[MASK]", "[UNK]", "c",
                                       "a",     "b",     "d",      "rare"};
  const std::vector<std::int64_t> counts{0, 0, 0, 0, 3, 2, 1, 1, 1};
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    CHECK(vocabulary.name(id) == names[static_cast<std::size_t>(id)]);
    CHECK(vocabulary.count(id) == counts[static_cast<std::size_t>(id)]);
  }
  CHECK(vocabulary.find("a") == 5);
  CHECK(vocabulary.find("nothing") == unknown_id);
  CHECK(vocabulary.find("[MASK]") == unknown_id);
  CHECK_THROWS_AS(vocabulary.name(9), OptionError);
  CHECK_THROWS_AS(vocabulary.count(-1), OptionError);
}

TEST_CASE("vocabulary: extended by new items it keeps all known ones", "[data]") {
  const Vocabulary known = Vocabulary::build(sample);  // c a b d rare
  const Sequences more = sequences_of({{"x", "a", "y", "y", "a", "d"}, {"a", "y", "z"}});
  const Vocabulary all = known.extended(more);
  const std::vector<std::pair<std::string, std::int64_t>> expected{
      {"a", 3}, {"y", 3}, {"d", 1}, {"x", 1}, {"z", 1}, {"c", 0}, {"b", 0}, {"rare", 0}};
  REQUIRE(all.items() == static_cast<std::int32_t>(expected.size()));
  for (std::int32_t i = 0; i < all.items(); ++i) {
    const auto& [name, count] = expected[static_cast<std::size_t>(i)];
    CHECK(all.name(all.first_item() + i) == name);
    CHECK(all.count(all.first_item() + i) == count);
  }
  CHECK(Vocabulary::deserialize(all.serialize()) == all);
  // min_count concerns only new items.
  const Vocabulary frequent = known.extended(more, 2);
  CHECK(frequent.items() == known.items() + 1);
  CHECK(frequent.find("y") != unknown_id);
  CHECK(frequent.find("rare") != unknown_id);
  CHECK(frequent.find("x") == unknown_id);
  CHECK(known.extended(sequences_of({{"c"}})).items() == known.items());
  CHECK_FALSE(
      Vocabulary(std::vector<std::string>{"p"}, std::vector<std::int64_t>{1}, {.specials = false})
          .extended(more)
          .has_specials());
  CHECK_THROWS_MATCHES(known.extended(more, -1), OptionError,
                       message_contains("expected min_count >= 0, got -1"));
}

TEST_CASE("vocabulary: minimum count, and targets without special ids", "[data]") {
  const Vocabulary frequent = Vocabulary::build(sample, {.min_count = 2});
  CHECK(frequent.items() == 2);
  CHECK(frequent.find("b") == unknown_id);
  const Vocabulary classes = Vocabulary::build(sample, {.min_count = 2, .specials = false});
  CHECK(classes.size() == 2);
  CHECK(classes.find("c") == 0);
  CHECK(classes.find("b") == absent_id);
  CHECK(classes.name(1) == "a");

  CHECK(row(encode(sample, frequent), 0) == std::vector<std::int32_t>{5, 4});
  CHECK(row(encode(sample, frequent, UnknownItems::keep), 0) == std::vector<std::int32_t>{3, 5, 4});
  CHECK(row(encode(sample, classes), 2) == std::vector<std::int32_t>{0});
  CHECK_THROWS_AS(encode(sample, classes, UnknownItems::keep), OptionError);
  CHECK(encode(sequences_of({{"new"}, {"c"}}), frequent).rows() == 2);

  const std::vector<std::int64_t> one{1};
  CHECK_THROWS_AS(Vocabulary(sample.items, one, {}), OptionError);
  CHECK(Vocabulary().size() == special_ids);
}

TEST_CASE("vocabulary: a written vocabulary is read back", "[data]") {
  const Sequences odd = sequences_of({{"plain", "two words", "100%", "\"quoted\\\"", "\xC3\xA9",
                                       "line\nend", "caf\xE9", "x\ty", "%41"}});
  for (const bool specials : {true, false}) {
    for (const Sequences& sequences : {sample, odd, Sequences()}) {
      const Vocabulary vocabulary = Vocabulary::build(sequences, {.specials = specials});
      const std::string text = vocabulary.serialize();
      for (const char c : text)
        REQUIRE((c == '\n' || (c >= ' ' && c <= '~' && c != '"' && c != '\\')));
      CHECK(Vocabulary::deserialize(text) == vocabulary);
    }
  }
  CHECK(Vocabulary::build(sample).serialize().substr(0, 61) ==
        "refrain-vocabulary 1 items=5 specials=1\n3 c\n2 a\n1 b\n1 d\n1 rar");
}

TEST_CASE("vocabulary: damaged text is refused", "[data]") {
  const std::string text = Vocabulary::build(sample).serialize();
  for (std::size_t length = 0; length < text.size(); ++length) {
    INFO(length);
    CHECK_THROWS_AS(Vocabulary::deserialize(text.substr(0, length)), DataError);
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    INFO(at);
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    CHECK_THROWS_AS(Vocabulary::deserialize(changed), DataError);
  }
  CHECK_THROWS_MATCHES(Vocabulary::deserialize(text + "\n", "m.safetensors"), DataError,
                       message_contains("m.safetensors:7: damaged"));
  CHECK_THROWS_MATCHES(
      Vocabulary::deserialize("refrain-vocabulary 1 items=2 specials=1\n3 c\n2 c\n"), DataError,
      message_contains("vocabulary:3: damaged vocabulary: item \"c\" appears twice"));
  CHECK_THROWS_MATCHES(
      Vocabulary::deserialize("refrain-vocabulary 1 items=2 specials=1\n3 c\n4 a\n"), DataError,
      message_contains("the count of the item before it"));
  CHECK_THROWS_MATCHES(
      Vocabulary::deserialize("refrain-vocabulary 1 items=99999999999 specials=1\n"), DataError,
      message_contains("header"));
  CHECK_THROWS_MATCHES(Vocabulary::deserialize("refrain-vocabulary 1 items=1 specials=1\n1 %4\n"),
                       DataError, message_contains("expected a name in printable ASCII"));
}
