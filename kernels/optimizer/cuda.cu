// Parameter updates on the GPU.  Device: f32, f64.
//   adam         g = gradient + l2 p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//                p -= learning_rate (m / correction1 / (sqrt(v / correction2) + epsilon) + decay p)
//                7 n elements moved
//   sgd          g = gradient + l2 p;  velocity = momentum velocity + g;
//                p -= learning_rate velocity                         5 n, or 3 n without velocity
//   adam_rows, sgd_rows   the same, only in the listed rows
//   adam_many    adam and adam_rows for many parameters
//   clip_factor  norm = sqrt(sum of squares);  factor = max_norm / norm, or 1         n
// One kernel makes all updates. A parameter is divided into pieces: 1,024 elements for a block, or
// with a row-sparse gradient its rows, each for a team of threads (a power of two, as in
// row_moves.cuh). A thread takes 16 bytes of each tensor at a time, or one element where an address
// or the length of a row is not a multiple of 16 bytes. A launch updates up to 32 parameters (f64:
// 16), which are passed by value in its arguments: the blocks of one parameter follow those of
// another, and a block finds its parameter with five comparisons. A model of many small parameters
// thus takes few launches, and a large parameter takes as many as in a separate launch. Values that
// change from step to step may be in device memory (`rates`), so that a captured launch serves
// every training step.
//
// Bound by memory bandwidth, with rows under 32 bytes by memory sectors; clip_factor, one block, by
// launch latency.

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/kernel.hpp"
#include "kernels/optimizer/kernels.cuh"
#include "kernels/tiling/row_moves.cuh"
#include "kernels/tiling/rows.hpp"
#include "refrain/kernels/optimizer.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

Pieces dense_pieces(std::int64_t numel, bool aligned) {
  return {.rows = nullptr,
          .count = (numel + update_piece - 1) / update_piece,
          .length = update_piece,
          .end = numel,
          .team_bits = row_grid(1, update_threads).team_bits,
          .packed = aligned};
}

/// Pieces for the rows of a row-sparse gradient; `n` elements are 16 bytes.
Pieces row_pieces(const View& rows, const View& values, int n, bool aligned) {
  const std::int64_t count = rows.shape.numel();
  const std::int64_t length = row_elements(values.shape);
  const bool packed = aligned && length % n == 0;
  return {.rows = rows.as<std::int32_t>(),
          .count = length == 0 ? 0 : count,
          .length = length,
          .end = count * length,
          .team_bits = row_grid(count, packed ? length / n : length).team_bits,
          .packed = packed};
}

/// Collects parameters and launches the kernel whenever a group is full.
template <class Tensor>
class Updates {
 public:
  Updates(const char* name) : name_(name) { clear(); }

  void add(const Tensor& tensor) {
    if (tensor.pieces.count == 0) return;
    if (size_ == UpdateGroup<Tensor>::max_size) launch();
    group_.at[size_] = tensor;
    group_.first_block[size_] = simt::blocks_for(blocks_, 1);
    ++size_;
    const std::int64_t pieces_per_block = update_threads >> tensor.pieces.team_bits;
    blocks_ += (tensor.pieces.count + pieces_per_block - 1) / pieces_per_block;
  }

  void launch() {
    if (size_ == 0) return;
    static_assert(sizeof group_ <= 4096, "a kernel's arguments end there");
    const simt::Launch how{
        .name = name_, .grid = simt::blocks_for(blocks_, 1), .block = update_threads};
    simt::launch(how, update_pieces<Tensor>, group_);
    clear();
  }

 private:
  void clear() {
    size_ = 0;
    blocks_ = 0;
    std::fill_n(group_.first_block, UpdateGroup<Tensor>::max_size, ~0u);
  }

  const char* name_;
  UpdateGroup<Tensor> group_{};
  int size_ = 0;
  std::int64_t blocks_ = 0;
};

template <class T, class Args>
AdamTensor<T> adam_tensor(const Args& args, const View& gradient) {
  const auto inverse_correction = [&](double beta) {
    return 1 / (1 - std::pow(beta, static_cast<double>(args.step)));
  };
  return {.pieces = {},
          .parameter = args.parameter.template as<T>(),
          .gradient = gradient.as<T>(),
          .m = args.m.template as<T>(),
          .v = args.v.template as<T>(),
          .rates = args.rates.template as<double>(),
          .rule = {.learning_rate = static_cast<T>(args.learning_rate),
                   .inverse_correction1 = static_cast<T>(inverse_correction(args.beta1)),
                   .inverse_correction2 = static_cast<T>(inverse_correction(args.beta2)),
                   .beta1 = static_cast<T>(args.beta1),
                   .one_minus_beta1 = static_cast<T>(1 - args.beta1),
                   .beta2 = static_cast<T>(args.beta2),
                   .one_minus_beta2 = static_cast<T>(1 - args.beta2),
                   .epsilon = static_cast<T>(args.epsilon),
                   .l2 = static_cast<T>(args.l2),
                   .decay = static_cast<T>(args.decay)}};
}

template <class T>
bool is_aligned(const AdamTensor<T>& tensor) {
  return simt::aligned_16(tensor.parameter, tensor.gradient, tensor.m, tensor.v);
}

template <class T>
AdamTensor<T> tensor_of(const Adam& args) {
  AdamTensor<T> tensor = adam_tensor<T>(args, args.gradient);
  tensor.pieces = dense_pieces(args.parameter.shape.numel(), is_aligned(tensor));
  return tensor;
}

template <class T>
AdamTensor<T> tensor_of(const AdamRows& args) {
  AdamTensor<T> tensor = adam_tensor<T>(args, args.values);
  tensor.pieces = row_pieces(args.rows, args.values, simt::Pack<T>::count, is_aligned(tensor));
  return tensor;
}

template <class T>
SgdTensor<T> tensor_of(const Sgd& args) {
  SgdTensor<T> tensor{.pieces = {},
                      .parameter = args.parameter.as<T>(),
                      .gradient = args.gradient.as<T>(),
                      .velocity = args.velocity.as<T>(),
                      .rates = args.rates.as<double>(),
                      .rule = {.learning_rate = static_cast<T>(args.learning_rate),
                               .momentum = static_cast<T>(args.momentum),
                               .l2 = static_cast<T>(args.l2)}};
  const bool aligned = simt::aligned_16(tensor.parameter, tensor.gradient, tensor.velocity);
  tensor.pieces = dense_pieces(args.parameter.shape.numel(), aligned);
  return tensor;
}

template <class T>
SgdTensor<T> tensor_of(const SgdRows& args) {
  SgdTensor<T> tensor{.pieces = {},
                      .parameter = args.parameter.as<T>(),
                      .gradient = args.values.as<T>(),
                      .velocity = nullptr,
                      .rates = args.rates.as<double>(),
                      .rule = {.learning_rate = static_cast<T>(args.learning_rate),
                               .momentum = T{0},
                               .l2 = static_cast<T>(args.l2)}};
  const bool aligned = simt::aligned_16(tensor.parameter, tensor.gradient);
  tensor.pieces = row_pieces(args.rows, args.values, simt::Pack<T>::count, aligned);
  return tensor;
}

template <class Args>
void update_one(const Args& args) {
  for_floating<Args>(args.parameter.dtype, [&]<class T>(T) {
    Updates<decltype(tensor_of<T>(args))> updates(Args::name);
    updates.add(tensor_of<T>(args));
    updates.launch();
  });
}

}  // namespace

template <>
void kernel(const Adam& args) {
  update_one(args);
}

template <>
void kernel(const AdamRows& args) {
  update_one(args);
}

template <>
void kernel(const AdamMany& args) {
  Updates<AdamTensor<float>> singles(AdamMany::name);
  Updates<AdamTensor<double>> doubles(AdamMany::name);
  const auto add = [&](const auto& one) {
    if (one.parameter.dtype == DType::f32) {
      singles.add(tensor_of<float>(one));
    } else {
      doubles.add(tensor_of<double>(one));
    }
  };
  for (const Adam& one : args.dense) check_floating<AdamMany>(one.parameter.dtype);
  for (const AdamRows& one : args.sparse) check_floating<AdamMany>(one.parameter.dtype);
  for (const Adam& one : args.dense) add(one);
  for (const AdamRows& one : args.sparse) add(one);
  singles.launch();
  doubles.launch();
}

template <>
void kernel(const Sgd& args) {
  update_one(args);
}

template <>
void kernel(const SgdRows& args) {
  update_one(args);
}

template <>
void kernel(const ClipFactor& args) {
  for_floating<ClipFactor>(args.squares.dtype, [&]<class T>(T) {
    const simt::Launch how{.name = ClipFactor::name, .grid = 1, .block = update_threads};
    simt::launch(how, find_clip_factor<T>, args.squares.shape.numel(), args.squares.as<T>(),
                 args.max_norm, args.norm.as<T>(), args.factor.as<T>());
  });
}

template void entry(const Adam&, ScratchMemory&);
template void entry(const AdamRows&, ScratchMemory&);
template void entry(const AdamMany&, ScratchMemory&);
template void entry(const Sgd&, ScratchMemory&);
template void entry(const SgdRows&, ScratchMemory&);
template void entry(const ClipFactor&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
