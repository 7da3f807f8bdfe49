/// Refrain behind a C interface, for tests that drive it from Python with ctypes.
///
/// Every function that can fail returns null or a negative number; exchange_error() returns the
/// reason.

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/dlpack.hpp"
#include "refrain/nn/patch.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/train/checkpoint.hpp"
#include "refrain/train/safetensors.hpp"
#include "refrain_models/nextitnet.hpp"

using namespace refrain;

namespace {

std::string& last_error() {
  static thread_local std::string text;
  return text;
}

/// Returns the result of `function`, or `failed` and keeps the reason.
template <class Result, class Function>
Result guarded(Result failed, Function&& function) noexcept {
  try {
    return function();
  } catch (const std::exception& error) {
    last_error() = error.what();
    return failed;
  }
}

template <class Function>
Tensor* new_tensor(Function&& function) noexcept {
  return guarded<Tensor*>(nullptr, [&] { return new Tensor(function()); });
}

template <class Managed>
std::unique_ptr<Managed, dlpack::Deleter> handle_on(void* managed) {
  return std::unique_ptr<Managed, dlpack::Deleter>(static_cast<Managed*>(managed));
}

template <bool is_lstm>
Tensor run_recurrent(const TensorMap& weights, const Tensor& x) {
  const Tensor& first = weights.at("layers.0.weight_x");
  const std::int64_t gates = is_lstm ? 4 : 3;
  std::int64_t layers = 0;
  while (weights.find(detail::concat("layers.", layers, ".weight_x")) != weights.end()) ++layers;
  Random random(1);
  Recurrent<is_lstm> network(
      {.in = first.size(1), .hidden = first.size(0) / gates, .layers = layers}, random);
  assign_tensors(tensors_of(network), weights, "the weights");
  const NoGrad off;
  return network.time_major(Variable(x)).y.value();
}

}  // namespace

extern "C" {

const char* exchange_error() { return last_error().c_str(); }

/// A tensor with the elements 0, 1, 2, ...
Tensor* exchange_make(int dtype, int rank, const std::int64_t* extents) {
  return new_tensor([&] {
    const Shape shape(std::span(extents, static_cast<std::size_t>(rank)));
    Tensor counted({shape.numel()}, DType::i64);
    for (std::int64_t i = 0; i < counted.numel(); ++i) counted.data<std::int64_t>()[i] = i;
    return counted.to(static_cast<DType>(dtype)).reshape(shape);
  });
}
void exchange_free(Tensor* tensor) { delete tensor; }

const void* exchange_address(const Tensor* tensor) { return tensor->raw(); }
int exchange_unique(const Tensor* tensor) { return tensor->unique() ? 1 : 0; }
void exchange_fill(Tensor* tensor, double value) { tensor->fill(value); }

void* exchange_lend(const Tensor* tensor, int versioned, int read_only) {
  return guarded<void*>(nullptr, [&]() -> void* {
    const DlpackExport options{.read_only = read_only != 0};
    if (versioned != 0) return to_dlpack(*tensor, options).release();
    return to_unversioned_dlpack(*tensor, options).release();
  });
}
void exchange_give_back(void* managed, int versioned) {
  if (versioned != 0) {
    handle_on<dlpack::ManagedTensorVersioned>(managed).reset();
  } else {
    handle_on<dlpack::ManagedTensor>(managed).reset();
  }
}
Tensor* exchange_take(void* managed, int versioned, int copy) {
  return new_tensor([&] {
    const DlpackImport options{.copy = copy != 0};
    if (versioned != 0)
      return from_dlpack(handle_on<dlpack::ManagedTensorVersioned>(managed), options);
    return from_dlpack(handle_on<dlpack::ManagedTensor>(managed), options);
  });
}

/// One tensor of a file.
Tensor* exchange_read(const char* path, const char* name) {
  return new_tensor([&] { return read_safetensors(path).tensors.at(name); });
}

/// Writes tensors, and one text under the name "text".
int exchange_write(const char* path, int count, const char* const* names,
                   const Tensor* const* tensors, const char* text) {
  return guarded(-1, [&] {
    SafetensorsFile file;
    for (int i = 0; i < count; ++i) file.tensors.emplace(names[i], *tensors[i]);
    file.metadata["text"] = text;
    write_safetensors(path, file);
    return 0;
  });
}

/// Hidden vectors [B,T,C] (scores 0), or scores [B,items] after the last step (scores 1), of a
/// NextItNet with the weights of a file.
Tensor* exchange_nextitnet(const char* weights, int blocks, const std::int64_t* dilations,
                           int two_way, int scores, const Tensor* ids) {
  return new_tensor([&] {
    const TensorMap tensors = read_safetensors(weights).tensors;
    const Tensor& table = tensors.at("embedding.weight");
    Random random(1);
    models::NextItNet model({.items = table.size(0),
                             .channels = table.size(1),
                             .dilations = std::vector<std::int64_t>(dilations, dilations + blocks),
                             .width = tensors.at("blocks.0.conv1.weight").size(0),
                             .padding = two_way != 0 ? Padding::same : Padding::causal},
                            random);
    assign_tensors(tensors_of(model), tensors, weights);
    const NoGrad off;
    return scores != 0 ? model.scores(*ids) : model.hidden(*ids).value();
  });
}

/// Hidden vectors [T,B,H] of an Lstm or Gru with the weights of a file, from a zero state.
Tensor* exchange_recurrent(const char* weights, int is_lstm, const Tensor* x) {
  return new_tensor([&] {
    const TensorMap tensors = read_safetensors(weights).tensors;
    return is_lstm != 0 ? run_recurrent<true>(tensors, *x) : run_recurrent<false>(tensors, *x);
  });
}

/// A patch with the weights of a file over x [...,C].
Tensor* exchange_patch(const char* weights, const Tensor* x) {
  return new_tensor([&] {
    const TensorMap tensors = read_safetensors(weights).tensors;
    const Shape& down = tensors.at("down").shape();
    Random random(1);
    Patch patch({.channels = down[0], .bottleneck = down[1]}, random);
    assign_tensors(tensors_of(patch), tensors, weights);
    const NoGrad off;
    return patch(Variable(*x)).value();
  });
}

}  // extern "C"
