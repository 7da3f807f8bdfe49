#pragma once
/// Cases of gpu_kernels: single kernels with their tensors on a GPU.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/kernels/table.hpp"
#include "support/cudnn/cudnn.hpp"

namespace refrain::bench {

/// One timed call.
struct Case {
  std::string name;
  std::string sizes;
  double flops = 0;
  std::function<void()> run{};
};

/// The tensors of a case, which live as long as the case, and their size in bytes.
class Tensors {
 public:
  View normal(const Shape& shape, double deviation = 1) {
    Tensor host(shape, DType::f32);
    Random(kept_.size() + 1).fill_normal(host, deviation);
    return keep(host);
  }
  View ids(const Shape& shape, std::int64_t bound) {
    Tensor host(shape, DType::i32);
    Random random(kept_.size() + 1);
    for (std::int32_t& id : host.span<std::int32_t>())
      id = static_cast<std::int32_t>(random.below(bound));
    return keep(host);
  }
  View uniform(const Shape& shape) {
    Tensor host(shape, DType::f32);
    Random(kept_.size() + 1).fill_uniform(host, 0.1, 0.9);
    return keep(host);
  }
  MutableView zeros(const Shape& shape, DType dtype = DType::f32) {
    kept_.push_back(Tensor::zeros(shape, dtype, Device::cuda));
    return kept_.back().mutable_view();
  }
  double bytes() const {
    double sum = 0;
    for (const Tensor& tensor : kept_) sum += static_cast<double>(tensor.bytes());
    return sum;
  }

 private:
  View keep(const Tensor& host) {
    kept_.push_back(host.to(Device::cuda));
    return kept_.back().view();
  }
  std::vector<Tensor> kept_;
};

inline double product(std::initializer_list<std::int64_t> sizes) {
  double all = 1;
  for (const std::int64_t size : sizes) all *= static_cast<double>(size);
  return all;
}

/// The cases in their order; the tensors of each are allocated on demand.
class Cases {
 public:
  using Make = std::function<Case(Tensors&)>;

  void add(const std::string& name, Make make) { all_.push_back({name, std::move(make)}); }
  /// pose(tensors) returns the arguments of a kernel, which `entry` runs.
  template <class Pose, class Args = std::invoke_result_t<Pose, Tensors&>>
  void add(
      const std::string& name, const std::string& sizes, double flops, Pose pose,
      const kernels::Entry<Args>& entry = kernels::table(Device::cuda).template entry<Args>()) {
    add(name, [=, &entry](Tensors& t) {
      const Args args = pose(t);
      return Case{name, sizes, flops, [=, &entry] { kernels::run(entry, args); }};
    });
  }
  const std::vector<std::pair<std::string, Make>>& list() const { return all_; }

 private:
  std::vector<std::pair<std::string, Make>> all_;
};

/// Recurrent segments and memory steps.
void add_recurrences(Cases& all);

/// An LSTM layer with the product of its input, forward (saving tensors for the backward pass) and
/// both passes: product and segment of the table, and the layer of cuDNN. Times of cuDNN include
/// the copy of its weights. The backward pass is not timed separately, because it consumes what
/// cuDNN saved.
void add_lstm_layers(Cases& all, const kernels::cudnn::Entries& cudnn);

}  // namespace refrain::bench
