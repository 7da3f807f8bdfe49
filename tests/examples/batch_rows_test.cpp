/// A row's scores do not depend on the rest of a batch of least_batch rows or more, bit for bit, in
/// every model: so a batch of users has the answers of single users. (Products of up to 4 rows add
/// in another order.)

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/answers.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace refrain::test::of_batch_rows {
namespace {

using examples::least_batch;
using models::NextItNet;
using models::PatchSet;

constexpr std::int64_t ids = 515, steps = 23, most_rows = 131;

/// Compares the scores of batches with those of a batch of equal rows.
void expect_rows_alone(const std::string& model, const Tensor& all,
                       const std::function<Tensor(const Tensor&)>& scores) {
  INFO(model);
  std::vector<Tensor> alone;
  for (std::int64_t row = 0; row < most_rows; ++row) {
    Tensor copies({least_batch, steps}, DType::i32);
    for (std::int64_t copy = 0; copy < least_batch; ++copy)
      copies.slice(copy, copy + 1).copy_from(all.slice(row, row + 1));
    alone.push_back(scores(copies).slice(0, 1).clone());
  }
  for (const std::int64_t rows : {8, 9, 11, 12, 16, 17, 31, 64, 100, 128, 131}) {
    const Tensor together = scores(all.slice(0, rows));
    REQUIRE(together.size(0) == rows);
    int different = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      different +=
          !same_bytes(together.slice(row, row + 1).clone(), alone[static_cast<std::size_t>(row)]);
    }
    INFO(rows << " rows");
    CHECK(different == 0);
  }
}

Tensor histories() {
  Tensor all = random_ids(most_rows * steps, ids, 11).reshape({most_rows, steps});
  for (std::int64_t row = 0; row < most_rows; ++row) {  // padding on the left
    for (std::int64_t step = 0; step < row % steps; ++step)
      all.data<std::int32_t>()[row * steps + step] = padding_id;
  }
  return all;
}

template <class Network>
void expect_recurrent(const std::string& name, bool tied) {
  Random random(5);
  Network network({.items = ids, .embedding = 24, .hidden = 40, .tied = tied}, random);
  network.eval();
  expect_rows_alone(name, histories(), [&](const Tensor& rows) { return network.scores(rows); });
}

template <class Controller>
void expect_memory(const std::string& name, std::int64_t attention) {
  Random random(6);
  models::CmnRec<Controller> network({.items = ids,
                                      .embedding = 24,
                                      .hidden = 40,
                                      .words = 5,
                                      .word_size = 32,
                                      .attention = attention,
                                      .chunks = 5},
                                     random);
  network.eval();
  expect_rows_alone(name, histories(), [&](const Tensor& rows) { return network.scores(rows); });
}

}  // namespace

TEST_CASE("batch rows: NextItNet and PeterRec score a row alike in every batch", "[model][law]") {
  for (const Padding padding : {Padding::causal, Padding::same}) {
    for (const std::int64_t channels : {16, 64}) {
      Random random(4);
      const NextItNet network({.items = ids,
                               .channels = channels,
                               .dilations = {1, 4},
                               .padding = padding,
                               .deviation = 0.3},
                              random);
      const std::string name = std::string(padding == Padding::causal ? "causal" : "non-causal") +
                               ", " + std::to_string(channels) + " channels";
      expect_rows_alone(name, histories(),
                        [&](const Tensor& rows) { return network.scores(rows); });
      for (const Insertion insertion : {Insertion::serial, Insertion::parallel, Insertion::none}) {
        const PatchSet patches(
            network,
            {.patches = {.insertion = insertion, .start = PatchStart::random},
             .head = {.targets = 37},
             .tcl_id = insertion == Insertion::none ? std::int64_t{-1} : std::int64_t{tcl_id}},
            random);
        expect_rows_alone(name + ", patched", histories(),
                          [&](const Tensor& rows) { return network.with(patches).scores(rows); });
      }
    }
  }
}

TEST_CASE("batch rows: CmnRec and the recurrent networks score a row alike in every batch",
          "[model][law]") {
  expect_memory<Lstm>("CmnRec, LSTM", 16);
  expect_memory<Gru>("CmnRec, GRU", 16);
  expect_memory<Lstm>("SRMN", 0);
  expect_recurrent<models::RecurrentRec<Lstm>>("LSTM4Rec", false);
  expect_recurrent<models::RecurrentRec<Gru>>("GRU4Rec", true);
}

}  // namespace refrain::test::of_batch_rows
