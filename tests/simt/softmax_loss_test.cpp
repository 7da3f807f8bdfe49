/// Full and sampled softmax losses on CUDA, emulated, against naive loops.

#include <optional>

#include "kernels/loss/score_slice_rows.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/loss.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_loss.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

/// Gradients of rows, of the table, of the bias.
enum Wanted : unsigned { nothing = 0, hidden_ = 1, weight_ = 2, bias_ = 4, everything = 7 };

using Ids = DeviceArray<std::int32_t>;

/// What an entry wrote.
template <class T>
struct Results {
  DeviceArray<T> loss, dhidden, dweight, dbias;

  Results(std::int64_t rows, std::int64_t candidates, std::int64_t channels, int offset)
      : loss({1}),
        dhidden({rows, channels}, {}, offset),
        dweight({candidates, channels}, {}, offset),
        dbias({candidates}) {}

  static MutableView view(unsigned wanted, unsigned bit, DeviceArray<T>& array) {
    return (wanted & bit) != 0 ? array.mutable_view() : MutableView();
  }
  /// Gradients are compared times the rows, which the mean divides by: small numbers would hide in
  /// the absolute tolerance. Those left out must have kept their NaN.
  void check(unsigned wanted, std::int64_t rows, double expected,
             const std::vector<double>& of_hidden, const std::vector<double>& of_weight,
             const std::vector<double>& of_bias, Tolerance allowed) const {
    const auto check_one = [&](unsigned bit, const DeviceArray<T>& array,
                               std::vector<double> values) {
      INFO("gradient " << bit);
      std::vector<T> got(array.span().begin(), array.span().end());
      for (T& value : got) value *= static_cast<T>(rows);
      for (double& value : values)
        value = (wanted & bit) != 0 ? value * static_cast<double>(rows) : std::nan("");
      check_close<T>(std::span<const T>(got), values, allowed);
    };
    check_close<T>(loss.span(), std::vector<double>{expected}, allowed);
    check_one(hidden_, dhidden, of_hidden);
    check_one(weight_, dweight, of_weight);
    check_one(bias_, dbias, of_bias);
  }
  bool same_as(const Results& other) const {
    return same_bytes(loss, other.loss) && same_bytes(dhidden, other.dhidden) &&
           same_bytes(dweight, other.dweight) && same_bytes(dbias, other.dbias);
  }
};

/// The results are right, and have the bits of those before.
template <class T, class Problem>
void check_run(const Problem& problem, Results<T> out, std::optional<Results<T>>& first) {
  problem.check(out, everything);
  if (first) {
    CHECK(out.same_as(*first));
  } else {
    first.emplace(std::move(out));
  }
}

/// The problem's results in every order of threads, all gradients wanted: right, and the same bits.
/// Then each choice of gradients.
template <class T, class Problem>
void check_problem(const Problem& problem) {
  std::optional<Results<T>> first;
  for_each_order([&] { check_run(problem, problem.run(everything), first); });
  for (const unsigned wanted : {nothing, hidden_, weight_, bias_}) {
    const auto out = problem.run(wanted);
    problem.check(out, wanted);
    CHECK(same_bytes(out.loss, first->loss));
  }
}

/// Bytes of at most 40 rows of so many scores; rows are whole groups of 16 bytes.
template <class T>
std::int64_t slices_of_40(std::int64_t candidates) {
  return 40 * ((candidates * static_cast<std::int64_t>(sizeof(T)) + 15) / 16 * 16);
}

struct FullCase {
  std::int64_t rows, items, channels;
  bool with_bias = true, relu = false;
  std::int64_t ignored = -1;
  int offset = 0;
  double deviation = 1;
};

template <class T>
struct FullProblem {
  FullCase size;
  DeviceArray<T> hidden, weight, bias;
  Ids targets;
  naive::SoftmaxLoss expected;

  explicit FullProblem(const FullCase& c)
      : size(c),
        hidden(random_array<T>({c.rows, c.channels}, 1, c.deviation, c.offset)),
        weight(random_array<T>({c.items, c.channels}, 2, c.deviation, c.offset)),
        bias(random_array<T>({c.items}, 3, c.deviation)),
        targets(random_id_array(c.rows, c.items, 4)) {
    solve();
  }
  void solve() {
    expected = naive::softmax_loss(hidden.doubles(), weight.doubles(),
                                   size.with_bias ? bias.doubles() : std::vector<double>(),
                                   targets.values(), naive::at(size.channels),
                                   static_cast<std::int32_t>(size.ignored), size.relu);
  }

  Results<T> run(unsigned wanted, std::int64_t max_score_bytes = 0) const {
    Results<T> out(size.rows, size.items, size.channels, size.offset);
    kernels::SoftmaxLoss args{.hidden = hidden.view(),
                              .weight = weight.view(),
                              .bias = size.with_bias ? bias.view() : View(),
                              .targets = targets.view(),
                              .loss = out.loss.mutable_view(),
                              .dhidden = Results<T>::view(wanted, hidden_, out.dhidden),
                              .dweight = Results<T>::view(wanted, weight_, out.dweight),
                              .dbias = Results<T>::view(wanted, bias_, out.dbias),
                              .ignored = size.ignored,
                              .relu = size.relu};
    if (max_score_bytes != 0) args.max_score_bytes = max_score_bytes;
    run_emulated(args);
    return out;
  }
  void check(const Results<T>& out, unsigned wanted, Tolerance allowed = tolerance::sum<T>) const {
    INFO("P " << size.rows << " V " << size.items << " C " << size.channels << " bias "
              << size.with_bias << " relu " << size.relu << " ignored " << size.ignored
              << " offset " << size.offset << " wanted " << wanted);
    out.check(wanted, size.rows, expected.loss, expected.dhidden, expected.dweight, expected.dbias,
              allowed);
  }
};

struct SampledCase {
  std::int64_t rows, items, samples, channels;
  bool with_bias = true, corrected = true, remove_hits = true;
  std::int64_t ignored = -1;
  int offset = 0;
};

template <class T>
struct SampledProblem {
  SampledCase size;
  DeviceArray<T> hidden, weight, bias, log_q_true, log_q_negative;
  Ids targets, negatives;
  naive::SampledLoss expected;

  explicit SampledProblem(const SampledCase& c)
      : size(c),
        hidden(random_array<T>({c.rows, c.channels}, 1, 1, c.offset)),
        weight(random_array<T>({c.items, c.channels}, 2, 1, c.offset)),
        bias(random_array<T>({c.items}, 3)),
        log_q_true(random_array<T>({c.rows}, 4)),
        log_q_negative(random_array<T>({c.samples}, 5)),
        targets(random_id_array(c.rows, c.items, 6)),
        negatives(random_id_array(c.samples, c.items, 7)) {  // with repeated ids, and hits
    solve();
  }
  void solve() {
    const auto given = [](bool on, const DeviceArray<T>& array) {
      return on ? array.doubles() : std::vector<double>();
    };
    expected = naive::sampled_softmax_loss(
        hidden.doubles(), weight.doubles(), given(size.with_bias, bias), targets.values(),
        negatives.values(), given(size.corrected, log_q_true),
        given(size.corrected, log_q_negative), naive::at(size.channels),
        static_cast<std::int32_t>(size.ignored), size.remove_hits);
  }

  Results<T> run(unsigned wanted, std::int64_t max_score_bytes = 0) const {
    Results<T> out(size.rows, size.samples + size.rows, size.channels, size.offset);
    kernels::SampledSoftmaxLoss args{
        .hidden = hidden.view(),
        .weight = weight.view(),
        .bias = size.with_bias ? bias.view() : View(),
        .targets = targets.view(),
        .negatives = negatives.view(),
        .log_q_true = size.corrected ? log_q_true.view() : View(),
        .log_q_negative = size.corrected ? log_q_negative.view() : View(),
        .loss = out.loss.mutable_view(),
        .dhidden = Results<T>::view(wanted, hidden_, out.dhidden),
        .dweight_rows = Results<T>::view(wanted, weight_, out.dweight),
        .dbias_rows = Results<T>::view(wanted, bias_, out.dbias),
        .ignored = size.ignored,
        .remove_hits = size.remove_hits};
    if (max_score_bytes != 0) args.max_score_bytes = max_score_bytes;
    run_emulated(args);
    return out;
  }
  void check(const Results<T>& out, unsigned wanted, Tolerance allowed = tolerance::sum<T>) const {
    INFO("P " << size.rows << " V " << size.items << " S " << size.samples << " C " << size.channels
              << " bias " << size.with_bias << " corrected " << size.corrected << " remove_hits "
              << size.remove_hits << " ignored " << size.ignored << " offset " << size.offset
              << " wanted " << wanted);
    out.check(wanted, size.rows, expected.loss, expected.dhidden, expected.dweight_rows,
              expected.dbias_rows, allowed);
  }
};

}  // namespace

TEMPLATE_TEST_CASE(
    "cuda softmax_loss: loss and gradients are the naive loops, the same bits in every order",
    "[simt][loss]", float, double) {
  // One of everything; rows about those of a block (8, 16), odd numbers of items and channels, and
  // whole packs of 16 bytes; tensors that start off a multiple of these. Items for a warp (512 at
  // once) and for a block (4,096), f64 half of that, and one more round of each.
  for (const FullCase& c :
       {FullCase{1, 1, 1}, FullCase{7, 3, 5, false, true}, FullCase{16, 128, 16, true, false, 5},
        FullCase{33, 129, 17, true, true}, FullCase{9, 64, 132, false, false, 3},
        FullCase{9, 65, 68, true, true, -1, 1}, FullCase{3, 520, 8, false}, FullCase{3, 1030, 4},
        FullCase{2, 4101, 1}}) {
    check_problem<TestType>(FullProblem<TestType>(c));
  }
}

TEST_CASE("cuda softmax_loss: rows enough for several parts of every sum", "[simt][loss]") {
  const FullProblem<double> problem(
      {2100, 3, 1, true, false, 1});  // 132 sums of 16 rows each for dbias, which are cut once more
  std::optional<Results<double>> first;
  for_each_order([&] { check_run(problem, problem.run(everything), first); });
}

TEMPLATE_TEST_CASE("cuda softmax_loss: several slices, which rows that do not count leave empty",
                   "[simt][loss]", float, double) {
  // Slices of 38, 38, 38, 36 rows: of the counted ones full and partly full; and, with two items,
  // empty ones.
  for (const FullCase& c :
       {FullCase{150, 130, 20, true, true, 9}, FullCase{150, 2, 5, true, false, 1}}) {
    const FullProblem<TestType> problem(c);
    const std::int64_t max_bytes = slices_of_40<TestType>(c.items);
    const auto whole = problem.run(everything);
    std::optional<Results<TestType>> first;
    for_each_order([&] { check_run(problem, problem.run(everything, max_bytes), first); });
    CHECK(same_bytes(first->loss,
                     whole.loss));  // a row's loss and their order know nothing of slices
    for (const unsigned wanted : {nothing, bias_})
      problem.check(problem.run(wanted, max_bytes), wanted);
  }
}

TEST_CASE(
    "cuda softmax losses: candidates that are no whole packs are multiplied in two parts for "
    "tensor cores",
    "[simt][loss]") {
  const MathScope scope(MathMode::tf32);  // the emulated library multiplies exactly all the same
  for (const std::int64_t items : {3, 64, 130, 131}) {
    const std::int64_t max_bytes = slices_of_40<float>(items);
    const FullProblem<float> full({60, items, 20, true, false, 1});
    full.check(full.run(everything, max_bytes), everything);
    const SampledProblem<float> sampled({60, 30, items, 20, true, true, true, 7});
    sampled.check(sampled.run(everything, max_bytes), everything);
  }
}

TEMPLATE_TEST_CASE(
    "cuda softmax_loss: rows that do not count may hold anything, and without others all is zero",
    "[simt][loss]", float, double) {
  FullProblem<TestType> some({9, 7, 12, true, false, 2});
  for (std::int64_t row = 0; row < 9; ++row) {
    some.targets.data()[row] = row % 3 == 0 ? 2 : 3;
    for (std::int64_t c = 0; row % 3 == 0 && c < 12; ++c) {
      some.hidden.data()[row * 12 + c] = std::numeric_limits<TestType>::max();
    }
  }
  some.solve();
  check_problem<TestType>(some);

  FullProblem<TestType> none({9, 7, 12, true, false, 2});
  std::fill_n(none.targets.data(), 9, 2);
  none.solve();
  REQUIRE(none.expected.loss == 0);
  check_problem<TestType>(none);
  check_problem<TestType>(FullProblem<TestType>({0, 7, 12}));
}

TEMPLATE_TEST_CASE("cuda softmax_loss: large scores neither overflow nor vanish", "[simt][loss]",
                   float, double) {
  FullProblem<TestType> problem({6, 300, 8, false, false, -1, 0, 30});
  REQUIRE(problem.expected.loss > 1000);
  const auto out = problem.run(hidden_);
  check_close<TestType>(out.loss.span(), std::vector<double>{problem.expected.loss},
                        tolerance::sum<TestType>);
  for (const double value : out.dhidden.doubles()) CHECK(std::isfinite(value));
}

TEMPLATE_TEST_CASE(
    "cuda sampled_softmax_loss: loss and gradients are the naive loops, the same bits in every "
    "order",
    "[simt][loss]", float, double) {
  for (const SampledCase& c :
       {SampledCase{1, 1, 1, 1, true, true, false}, SampledCase{7, 5, 1, 3},
        SampledCase{9, 40, 0, 8}, SampledCase{33, 31, 66, 33, false, false, true, 4},
        SampledCase{17, 31, 129, 132, true, false, false, 4},
        SampledCase{17, 32, 8, 68, false, true, true},
        SampledCase{5, 500, 9, 12, true, true, true, -1, 1}, SampledCase{3, 700, 600, 4},
        SampledCase{2, 300, 1030, 3}}) {
    check_problem<TestType>(SampledProblem<TestType>(c));
  }
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: several slices", "[simt][loss]", float, double) {
  const SampledProblem<TestType> problem({100, 30, 70, 20, true, true, true, 7});
  const std::int64_t max_bytes = slices_of_40<TestType>(70);
  const auto whole = problem.run(everything);
  for_each_order([&] {
    const auto out = problem.run(everything, max_bytes);
    problem.check(out, everything);
    CHECK(same_bytes(out.loss, whole.loss));
  });
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: every candidate is a hit, and scores far below zero",
                   "[simt][loss]", float, double) {
  // With nothing but the target left the loss is 0, however small exp of the target's score is.
  SampledProblem<TestType> problem({5, 4, 70, 2, false, false});
  std::fill_n(problem.targets.data(), 5, 3);
  std::fill_n(problem.negatives.data(), 70, 3);
  std::fill_n(problem.hidden.data(), 10, TestType{-200});
  std::fill_n(problem.weight.data(), 8, TestType{1});
  const auto out = problem.run(everything);
  CHECK(*out.loss.data() == 0);
  for (const auto* array : {&out.dhidden, &out.dweight, &out.dbias}) {
    for (const TestType value : array->span()) CHECK(value == 0);
  }
}

TEMPLATE_TEST_CASE("cuda sampled_softmax_loss: without counted rows loss and gradients are zero",
                   "[simt][loss]", float, double) {
  SampledProblem<TestType> none({5, 11, 7, 3, true, true, true, 4});
  std::fill_n(none.targets.data(), 5, 4);
  none.solve();
  REQUIRE(none.expected.loss == 0);
  check_problem<TestType>(none);
  check_problem<TestType>(SampledProblem<TestType>({0, 11, 7, 3}));
}

TEST_CASE("cuda softmax losses: slices hold their limits", "[simt][loss]") {
  constexpr std::int64_t max_bytes = kernels::SoftmaxLoss{}.max_score_bytes;
  const std::int64_t many = 1'024'000;
  const auto rows_of = [&](std::int64_t items) {
    return cuda::score_slice_rows(many, max_bytes, items * 4);
  };
  for (const std::int64_t items : {1, 100, 1'000, 10'000, 100'000, 700'000}) {
    INFO(items << " items");
    CHECK(rows_of(items) % 128 == 0);
    CHECK(rows_of(items) * items * 4 <= max_bytes);
  }
  CHECK(rows_of(100'000) == 896);    // 384 MiB would be 1,006 rows
  CHECK(rows_of(1'000'000) == 100);  // 384 MiB
  CHECK(rows_of(10'000'000) == 16);  // 640 MB
  CHECK(cuda::score_slice_rows(0, max_bytes, 4) == 0);
  CHECK(cuda::score_slice_rows(5, max_bytes, 4) == 5);
  CHECK(cuda::score_slice_rows(10'000, max_bytes, 60'000) ==
        5'120);  // two of 5,120 and 4,880 rather than 6,656 and 3,344
}
