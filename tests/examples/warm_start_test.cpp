/// A network that starts from a trained one with fewer items.

#include "common/warm_start.hpp"

#include "refrain/core/error.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "support/catch.hpp"
#include "support/ragged.hpp"

using namespace refrain;
using namespace refrain::examples;
using refrain::test::message_contains;
using refrain::test::sequences_of;

namespace warm_start_test {

std::vector<float> row_of(const Tensor& table, std::int64_t row) {
  const Tensor part = table.slice(row, row + 1);
  return {part.data<float>(), part.data<float>() + part.numel()};
}

const Vocabulary known = Vocabulary::build(sequences_of({{"c", "c", "c", "a", "a", "b"}}));
const WarmVocabulary extended =
    extended_vocabulary(known, sequences_of({{"b", "b", "x", "a", "y", "y", "y"}}), 1);

/// Copies the known items of one network into another of the same options, and checks all
/// parameters. make(items, seed) creates a network.
template <class Make>
void check_known(const Make& make) {
  const auto trained = make(known.size(), 1);
  const auto fresh = make(extended.vocabulary.size(), 2);
  const auto network = make(extended.vocabulary.size(), 2);
  keep_known(*trained, known, *network, extended.vocabulary);
  const TensorMap from = tensors_of(*trained), initial = tensors_of(*fresh);
  for (const auto& [name, tensor] : tensors_of(*network)) {
    INFO(name);
    const Tensor& source = from.at(name);
    if (source.shape() == tensor.shape()) {
      for (std::int64_t i = 0; i < tensor.numel(); ++i)
        REQUIRE(tensor.template data<float>()[i] == source.template data<float>()[i]);
      continue;
    }
    REQUIRE(tensor.size(0) == extended.vocabulary.size());
    for (std::int32_t id = 0; id < extended.vocabulary.size(); ++id) {
      const std::string_view item = extended.vocabulary.name(id);
      INFO(item);
      const std::int32_t old = id < special_ids ? id : known.find(item);
      CHECK(row_of(tensor, id) == (old == unknown_id && id != unknown_id
                                       ? row_of(initial.at(name), id)
                                       : row_of(source, old)));
    }
  }
}

}  // namespace warm_start_test

using namespace warm_start_test;

TEST_CASE("warm_start: the vocabulary keeps known items and counts", "[example]") {
  CHECK(extended.text == "3 items are known, 1 of them not in the data; 2 are new");
  CHECK(extended.vocabulary.name(special_ids) == "y");
  CHECK(extended.vocabulary.items() == 5);
}

TEST_CASE("warm_start: known rows are kept bit for bit, new ones are as in a fresh network",
          "[example]") {
  for (const bool tied : {false, true}) {
    INFO("tied " << tied);
    check_known([&](std::int64_t items, std::uint64_t seed) {
      Random random(seed);
      return std::make_unique<models::NextItNet>(
          models::NextItNet::Options{
              .items = items, .channels = 4, .dilations = {1, 2}, .tied = tied},
          random);
    });
    check_known([&](std::int64_t items, std::uint64_t seed) {
      Random random(seed);
      using Network = models::RecurrentRec<Gru>;
      return std::make_unique<Network>(
          Network::Options{.items = items, .embedding = 3, .hidden = 5, .tied = tied}, random);
    });
    check_known([&](std::int64_t items, std::uint64_t seed) {
      Random random(seed);
      using Network = models::CmnRec<Lstm>;
      return std::make_unique<Network>(Network::Options{.items = items,
                                                        .embedding = 3,
                                                        .hidden = 5,
                                                        .words = 2,
                                                        .word_size = 3,
                                                        .attention = 4,
                                                        .tied = tied},
                                       random);
    });
  }
}

TEST_CASE("warm_start: a given option that differs from the file is refused", "[example]") {
  const nlohmann::json stored{{"channels", 8}, {"dilations", {1, 2}}, {"kind", "gru4rec"}};
  const auto check = [&](const char* option, const nlohmann::json& given) {
    expect_architecture({.file = "base.safetensors", .given = {option}}, given, stored);
  };
  nlohmann::json other = stored;
  other["channels"] = 16;
  CHECK_NOTHROW(check("--kind", other));
  CHECK_NOTHROW(check("--channels", stored));
  CHECK_THROWS_MATCHES(
      check("--channels", other), OptionError,
      message_contains("--channels: expected 8, as in base.safetensors of --from, got 16"));
  other["dilations"] = {1, 4};
  CHECK_THROWS_MATCHES(check("--dilations", other), OptionError,
                       message_contains("--dilations: expected [1,2], as in"));
  other["kind"] = "srmn";
  CHECK_THROWS_MATCHES(check("--kind", other), OptionError,
                       message_contains("--kind: expected gru4rec, as in base.safetensors of "
                                        "--from, got srmn"));
}
