/// Random numbers of a captured graph that is replayed.

#include "refrain/ops/dropout.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("captured draws: captured steps draw the same numbers as uncaptured ones", "[ops]") {
  Random first(1, 10), second(1, 20);
  first = Random(RandomState{1, 10, 1000});
  const std::uint64_t start = first.state().position;
  detail::CapturedDraws draws;
  Tensor shift_first, shift_second;
  {
    const detail::CapturedDraws::Scope scope(draws);
    const Variable x(Tensor::full({9}, 1, DType::f32));
    dropout(x, 0.5, first);  // 3 blocks
    dropout(x, 0.5, second);
    dropout(x, 0.5, first);
    shift_first = detail::CapturedDraws::shift_of(first, Device::cpu);
    shift_second = detail::CapturedDraws::shift_of(second, Device::cpu);
    CHECK_FALSE(shift_first.shares_storage_with(shift_second));
  }
  CHECK(first.state().position == start);  // a capture draws nothing
  CHECK(second.state().position == 0);
  CHECK_FALSE(detail::CapturedDraws::shift_of(first, Device::cpu).defined());
  for (std::int64_t run = 0; run < 4; ++run) {
    draws.advance();
    CHECK(*shift_first.data<std::int64_t>() == 6 * run);
    CHECK(*shift_second.data<std::int64_t>() == 3 * run);
    CHECK(first.state().position == start + 6 * static_cast<std::uint64_t>(run + 1));
  }
  // A step outside the graph also moves the stream.
  dropout(Variable(Tensor::full({4}, 1, DType::f32)), 0.5, first);
  draws.advance();
  CHECK(*shift_first.data<std::int64_t>() == 25);
  CHECK(*shift_second.data<std::int64_t>() == 12);
}

TEST_CASE("captured draws: a shifted mask is the mask of a later step", "[ops]") {
  const Variable x(Tensor::full({1000}, 1, DType::f32));
  Random plain(7, 3);
  const Tensor first = dropout(x, 0.5, plain).value();
  const Tensor later = dropout(x, 0.5, plain).value();
  CHECK_FALSE(same_bytes(first, later));
  Random random(7, 3);
  detail::CapturedDraws draws;
  Tensor shift;
  {
    const detail::CapturedDraws::Scope scope(draws);
    dropout(x, 0.5, random);
    shift = detail::CapturedDraws::shift_of(random, Device::cpu);
  }
  for (const Tensor* expected : {&first, &later}) {
    draws.advance();
    // The captured call, with the position of the capture and the shift of the run.
    Tensor y({1000}, DType::f32);
    kernels::run(kernels::Dropout{
        .x = x, .y = y, .keep = 0.5, .seed = 7, .stream = 3, .position = 0, .shift = shift});
    CHECK(same_bytes(y, *expected));
  }
}
