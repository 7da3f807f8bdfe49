#pragma once
/// One problem, posed twice: to the CPU in f64 and to the GPU in f32, with the same numbers.
///
///   CUDA_ENTRY(Multiply) {
///     const Shape shape{arena.size(5000)};
///     return {.a = arena.normal(shape),
///             .b = arena.normal(shape),
///             .out = arena.output("out", shape)};
///   }
///
/// The body is run for many seeds, and for each once per device. Everything random comes from the
/// arena, so all runs of a seed make the same problem. Shapes are small and odd.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/kernels/table.hpp"
#include "support/close.hpp"
#include "support/skip.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

/// The tensors of a random problem.
class Arena {
 public:
  Arena(std::uint64_t seed, DType dtype, Device device)
      : random_(seed), dtype_(dtype), device_(device) {}

  Device device() const { return device_; }

  /// A size in [1, largest]; one, small sizes and the largest are frequent.
  std::int64_t size(std::int64_t largest) {
    switch (random_.below(6)) {
      case 0:
        return 1;
      case 1:
        return largest;
      case 2:
        return 1 + random_.below(std::min<std::int64_t>(largest, 4));
      default:
        return 1 + random_.below(largest);
    }
  }
  std::int64_t below(std::int64_t bound) { return random_.below(bound); }
  bool coin() { return random_.below(2) == 0; }
  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[random_.below(static_cast<std::int64_t>(choices.size()))];
  }

  /// Inputs. Numbers are rounded to f32, so that both devices get the same.
  View normal(const Shape& shape, double deviation = 1) {
    return given(made(shape, [&] { return deviation * random_.normal(); }));
  }
  View uniform(const Shape& shape, double low, double high) {
    return given(made(shape, [&] { return low + (high - low) * random_.uniform(); }));
  }
  /// Integers in [low, high]: their sums are exact, and many are equal.
  View whole(const Shape& shape, std::int64_t low, std::int64_t high) {
    return given(
        made(shape, [&] { return static_cast<double>(low + random_.below(high - low + 1)); }));
  }
  View ids(const Shape& shape, std::int64_t bound) {
    return given(made_ids(shape, [&] { return random_.below(bound); }));
  }
  /// Multiples of 1/8 in [-2,2]: a sum of two products of them has the same sign in f32 and f64.
  View coarse(const Shape& shape) {
    return given(made(shape, [&] { return static_cast<double>(random_.below(33) - 16) / 8; }));
  }
  View ids_from(const std::vector<std::int64_t>& ids) {
    return ids_from(ids, {static_cast<std::int64_t>(ids.size())});
  }
  View ids_from(const std::vector<std::int64_t>& ids, const Shape& shape) {
    std::size_t at = 0;
    return given(made_ids(shape, [&] { return ids[at++]; }));
  }
  /// `count` distinct increasing ids below `bound`, then -1 up to `length`.
  View distinct_ids(std::int64_t count, std::int64_t length, std::int64_t bound) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(bound));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
    random_.shuffle(all);
    all.resize(static_cast<std::size_t>(count));
    std::sort(all.begin(), all.end());
    all.resize(static_cast<std::size_t>(length), -1);
    return ids_from(all);
  }
  /// Numbers that are f64 on every device.
  View doubles(std::initializer_list<double> values) {
    return given(Tensor::from<double>({static_cast<std::int64_t>(values.size())}, values));
  }
  View count(std::int64_t value) { return given(Tensor::from<std::int64_t>({1}, {value})); }
  /// A host tensor of this arena's dtype, or of ids, copied to the device.
  View given(const Tensor& host) {
    kept_.push_back(host.to(device_));
    return kept_.back().view();
  }
  /// A result of another kernel, f64 on the CPU.
  View copied(const Tensor& host) {
    std::int64_t at = 0;
    return given(made(host.shape(), [&] { return host.data<double>()[at++]; }));
  }
  /// Host tensors for problems that come from another kernel of the CPU.
  Tensor host_normal(const Shape& shape, double deviation = 1) {
    return made(shape, [&] { return deviation * random_.normal(); });
  }

  /// Storage for arguments that an entry takes as a list; it lives as long as the problem.
  template <class T>
  std::span<const T> list(std::vector<T> values) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    lists_.push_back(kept);
    return *kept;
  }

  /// Outputs, which are compared by name. They are filled with a number that no kernel writes.
  MutableView output(std::string name, const Shape& shape) {
    return output(std::move(name), shape, dtype_);
  }
  MutableView output_ids(std::string name, const Shape& shape) {
    return output(std::move(name), shape, DType::i32);
  }
  /// An input that the kernel changes.
  MutableView changed(std::string name, const Tensor& host) {
    outputs_.push_back({std::move(name), host.clone().to(device_)});
    return outputs_.back().second.mutable_view();
  }
  MutableView changed(std::string name, const Shape& shape, double deviation = 1) {
    return changed(std::move(name), host_normal(shape, deviation));
  }
  MutableView changed_uniform(std::string name, const Shape& shape, double low, double high) {
    return changed(std::move(name),
                   made(shape, [&] { return low + (high - low) * random_.uniform(); }));
  }
  MutableView maybe_output(std::string name, const Shape& shape) {
    return coin() ? output(std::move(name), shape) : MutableView();
  }

  /// A weight [out,in] as packed by pack_weights on this device, for products with it or with its
  /// transpose.
  View packed(const View& weight, bool transpose) {
    const std::int64_t depth = weight.shape[transpose ? 1 : 0];
    const std::int64_t columns = weight.shape[transpose ? 0 : 1];
    Tensor out({kernels::packed_elements(depth, columns)}, dtype_, device_);
    kernels::run<kernels::PackWeights>({.b = weight, .packed = out, .transpose_b = transpose});
    kept_.push_back(out);
    return kept_.back().view();
  }

  DType dtype() const { return dtype_; }
  Tensor made(const Shape& shape, const std::function<double()>& next) {
    Tensor host(shape, dtype_);
    for (std::int64_t i = 0; i < host.numel(); ++i) {
      const float value = static_cast<float>(next());
      if (dtype_ == DType::f32) {
        host.data<float>()[i] = value;
      } else {
        host.data<double>()[i] = static_cast<double>(value);
      }
    }
    return host;
  }

  const std::vector<std::pair<std::string, Tensor>>& outputs() const { return outputs_; }

 private:
  Tensor made_ids(const Shape& shape, const std::function<std::int64_t()>& next) {
    Tensor host(shape, DType::i32);
    for (std::int32_t& id : host.span<std::int32_t>()) id = static_cast<std::int32_t>(next());
    return host;
  }
  MutableView output(std::string name, const Shape& shape, DType dtype) {
    outputs_.push_back({std::move(name), Tensor::full(shape, -77777, dtype, device_)});
    return outputs_.back().second.mutable_view();
  }

  Random random_;
  DType dtype_;
  Device device_;
  std::vector<Tensor> kept_;
  std::vector<std::shared_ptr<const void>> lists_;
  std::vector<std::pair<std::string, Tensor>> outputs_;
};

/// For sums of f32 numbers against sums of the same numbers in f64.
inline constexpr Tolerance on_device{2e-5, 2e-5};

struct EntryOptions {
  Tolerance tolerance = on_device;
  int rounds = 40;
  bool same_bits = true;  ///< two runs must be bit-identical
};

/// Seed of this run: REFRAIN_SEED, or 1. Printed once.
std::uint64_t seed_of_run();
/// The smaller of `wanted` and REFRAIN_ROUNDS, if set.
int rounds_of_run(int wanted);
/// Records that an entry has a test.
bool note_entry(const char* name);
/// Names of the recorded entries.
std::vector<std::string> noted_entries();

/// Compares all outputs of the two arenas.
inline void check_outputs(const Arena& cpu, const Arena& gpu, Tolerance tolerance) {
  REQUIRE(cpu.outputs().size() == gpu.outputs().size());
  for (std::size_t i = 0; i < cpu.outputs().size(); ++i) {
    const auto& [name, expected] = cpu.outputs()[i];
    const Tensor got = gpu.outputs()[i].second.to(Device::cpu);
    INFO("output " << name << " " << got.shape());
    REQUIRE(gpu.outputs()[i].first == name);
    if (got.dtype() == DType::i32) {
      CHECK(integers(got) == integers(expected));
    } else {
      check_close<float>(got, doubles(expected), tolerance);
    }
  }
}

/// Compares a kernel in f32 on `device` with one of the CPU in f64 on random problems. Both are
/// callables that take the contract.
template <class Expected, class Got, class Pose>
void compare_kernels(const Expected& run_expected, const Got& run, const Pose& pose, Device device,
                     EntryOptions options) {
  for (int round = 0; round < rounds_of_run(options.rounds); ++round) {
    const std::uint64_t seed = seed_of_run() + static_cast<std::uint64_t>(round);
    Arena expected(seed, DType::f64, Device::cpu);
    Arena got(seed, DType::f32, device);
    const auto problem = pose(expected);
    INFO(problem.name << " on " << device << ": REFRAIN_SEED=" << seed
                      << " poses this problem first");
    run_expected(problem);
    run(pose(got));
    check_outputs(expected, got, options.tolerance);
    if (!options.same_bits) continue;
    Arena again(seed, DType::f32, device);
    run(pose(again));
    for (std::size_t i = 0; i < got.outputs().size(); ++i) {
      INFO("output " << got.outputs()[i].first << ", computed twice");
      CHECK(same_bytes(got.outputs()[i].second.to(Device::cpu),
                       again.outputs()[i].second.to(Device::cpu)));
    }
  }
}

/// The kernel of the table, as a callable.
inline constexpr auto of_table = [](const auto& args) { kernels::run(args); };

/// Compares the CUDA kernel with the CPU's.
template <class Args>
void compare_cuda_entry(Args (*pose)(Arena&), EntryOptions options = {}) {
  const kernels::Entry<Args>& entry = kernels::table(Device::cuda).template entry<Args>();
  if (!entry) REFRAIN_SKIP(detail::concat(Args::name, ": ", entry.absent));
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  compare_kernels(of_table, of_table, pose, Device::cuda, options);
}

/// Runs the CPU kernel in f32: shows that the problems are valid and that the tolerance holds for
/// f32 sums. Needs no GPU.
template <class Args>
void check_problems(Args (*pose)(Arena&), EntryOptions options = {}) {
  options.rounds = std::min(options.rounds, 10);
  compare_kernels(of_table, of_table, pose, Device::cpu, options);
}

}  // namespace refrain::test

/// Two test cases for one contract. The body defines a problem: it returns the kernel's arguments.
#define CUDA_ENTRY(Args) CUDA_ENTRY_WITH(Args, {})
#define CUDA_ENTRY_WITH(Args, ...)                                                          \
  static refrain::kernels::Args pose_##Args(refrain::test::Arena& arena);                   \
  static const bool noted_##Args = refrain::test::note_entry(refrain::kernels::Args::name); \
  TEST_CASE("cuda: " #Args " against the CPU", "[cuda][table][sanitize]") {                 \
    REQUIRE(noted_##Args);                                                                  \
    refrain::test::compare_cuda_entry(pose_##Args, __VA_ARGS__);                            \
  }                                                                                         \
  TEST_CASE("cuda: the problems for " #Args " are well posed", "[posed]") {                 \
    refrain::test::check_problems(pose_##Args, __VA_ARGS__);                                \
  }                                                                                         \
  static refrain::kernels::Args pose_##Args(refrain::test::Arena& arena)
