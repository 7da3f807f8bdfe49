// An LSTM segment by cuDNN.
//
// cuDNN's LSTM multiplies its input by a weight; its "skip input" takes inputs of H elements that
// all gates share. The contract's inputs are 4H different sums, so they are multiplied by the
// identity [4H,4H]: sums of x and zeros, which equal x bit for bit when factors are not rounded.
// Both order the gates i, f, g, o. All sequences have L time steps, so our time-major tensors are
// cuDNN's "packed" data.
//
// Weights are in a space with cuDNN's own layout, filled in each call: the time of a call includes
// that copy of 4H (E + H) elements.

#include <array>
#include <limits>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "support/cudnn/functions.hpp"
#include "support/cudnn/handle_cuda.hpp"
#include "support/cudnn/layouts.hpp"

namespace refrain::kernels::cudnn {
namespace {

using refrain::cuda::check;
using refrain::cuda::current_queue;

/// A descriptor that is destroyed with this object.
template <class Made, cudnnStatus_t (*create)(Made*), cudnnStatus_t (*destroy)(Made)>
class Owned {
 public:
  Owned() { check(create(&made_), "cuDNN: a descriptor"); }
  ~Owned() { destroy(made_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  operator Made() const noexcept {
    return made_;
  }  // NOLINT(google-explicit-constructor): converts to the descriptor

 private:
  Made made_ = nullptr;
};
using RnnDescriptor =
    Owned<cudnnRNNDescriptor_t, cudnnCreateRNNDescriptor, cudnnDestroyRNNDescriptor>;
using DataDescriptor =
    Owned<cudnnRNNDataDescriptor_t, cudnnCreateRNNDataDescriptor, cudnnDestroyRNNDataDescriptor>;
using TensorDescriptor =
    Owned<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;

std::int32_t extent(std::int64_t value) {
  if (value < 1 || value > std::numeric_limits<std::int32_t>::max()) {
    throw Unsupported(
        refrain::detail::concat("cuDNN lstm: expected extents from 1 to 2^31 - 1, got ", value));
  }
  return static_cast<std::int32_t>(value);
}

cudnnMathType_t math_type() {
  switch (math_mode()) {
    case MathMode::exact:
      return CUDNN_FMA_MATH;
    case MathMode::tf32:
      return CUDNN_DEFAULT_MATH;
    default:
      throw Unsupported("cuDNN lstm: f32 tensors are not rounded to bf16");
  }
}

/// Offsets of a layer's weights in cuDNN's space: the matrix [H,columns] of gate g begins at
/// element `at[g]`.
struct Matrices {
  std::array<std::int64_t, 4> at{};
  std::int64_t hidden = 0;
  std::int64_t columns = 0;

  std::int64_t elements() const { return hidden * columns; }
  /// True when the four matrices are contiguous.
  bool together() const {
    return at[1] - at[0] == elements() && at[2] - at[1] == elements() &&
           at[3] - at[2] == elements();
  }
};

void copy(const float* from, float* to, std::int64_t count, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(float),
                        cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpyAsync");
}

void clear(void* to, std::size_t bytes, cudaStream_t stream) {
  check(cudaMemsetAsync(to, 0, bytes, stream), "cudaMemsetAsync");
}

/// Copies weight [4H,columns] into the space, or out of it.
void copy_in(const float* weight, const Matrices& m, float* space, cudaStream_t stream) {
  if (m.together()) return copy(weight, space + m.at[0], 4 * m.elements(), stream);
  for (std::size_t g = 0; g < 4; ++g)
    copy(weight + static_cast<std::int64_t>(g) * m.elements(), space + m.at[g], m.elements(),
         stream);
}
void copy_out(const float* space, const Matrices& m, float* weight, cudaStream_t stream) {
  if (m.together()) return copy(space + m.at[0], weight, 4 * m.elements(), stream);
  for (std::size_t g = 0; g < 4; ++g)
    copy(space + m.at[g], weight + static_cast<std::int64_t>(g) * m.elements(), m.elements(),
         stream);
}

/// The descriptors of a layer, under the lock of the handle.
class Lstm {
 public:
  Lstm(const LstmLayer& args, cudnnHandle_t handle)
      : steps_(args.x.shape[0]),
        batch_(args.x.shape[1]),
        width_(args.x.shape[2]),
        hidden_(args.h0.shape[1]),
        handle_(handle) {
    check_f32<LstmLayer>(args.x.dtype);
    if (!args.input_weight && width_ != 4 * hidden_) {
      throw ShapeError(
          refrain::detail::concat("cuDNN lstm: expected x [L,B,4H] without an input weight, got ",
                                  args.x.shape, " with H ", hidden_));
    }
    check(cudnnSetRNNDescriptor_v8(rnn_, CUDNN_RNN_ALGO_STANDARD, CUDNN_LSTM, CUDNN_RNN_NO_BIAS,
                                   CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT, CUDNN_DATA_FLOAT,
                                   CUDNN_DATA_FLOAT, math_type(), extent(width_), extent(hidden_),
                                   extent(hidden_), 1, nullptr, CUDNN_RNN_PADDED_IO_DISABLED),
          "cudnnSetRNNDescriptor_v8");
    describe(x_, width_);
    describe(h_, hidden_);
    const std::array<int, 3> sizes{1, extent(batch_), extent(hidden_)};
    const std::array<int, 3> strides{extent(batch_ * hidden_), extent(hidden_), 1};
    check(cudnnSetTensorNdDescriptor(state_, CUDNN_DATA_FLOAT, 3, sizes.data(), strides.data()),
          "cudnnSetTensorNdDescriptor");
    check(cudnnGetRNNWeightSpaceSize(handle_, rnn_, &weight_bytes_), "cudnnGetRNNWeightSpaceSize");
    const cudnnForwardMode_t modes[] = {CUDNN_FWD_MODE_INFERENCE, CUDNN_FWD_MODE_TRAINING};
    for (const cudnnForwardMode_t mode : modes) {
      std::size_t work = 0;
      check(cudnnGetRNNTempSpaceSizes(handle_, rnn_, mode, x_, &work, &reserve_bytes_),
            "cudnnGetRNNTempSpaceSizes");
      work_bytes_ = std::max(work_bytes_, work);
    }
  }

  std::int64_t states() const { return batch_ * hidden_; }
  std::int64_t outputs() const { return steps_ * states(); }
  std::size_t weight_bytes() const { return weight_bytes_; }
  std::size_t work_bytes() const { return work_bytes_; }
  std::size_t reserve_bytes() const { return reserve_bytes_; }  ///< for training

  /// Matrices of the product with the input (first = 0) or of the recurrent product (first = 4).
  Matrices matrices(float* space, std::int32_t first) const {
    Matrices found{.hidden = hidden_, .columns = first == 0 ? width_ : hidden_};
    const TensorDescriptor matrix, bias;
    for (std::int32_t gate = 0; gate < 4; ++gate) {
      void* address = nullptr;
      void* no_bias = nullptr;
      check(cudnnGetRNNWeightParams(handle_, rnn_, 0, weight_bytes_, space, first + gate, matrix,
                                    &address, bias, &no_bias),
            "cudnnGetRNNWeightParams");
      cudnnDataType_t type{};
      int rank = 0;
      std::array<int, 3> sizes{}, strides{};
      check(cudnnGetTensorNdDescriptor(matrix, 3, &type, &rank, sizes.data(), strides.data()),
            "cudnnGetTensorNdDescriptor");
      if (address == nullptr || rank != 3 || sizes[1] != hidden_ || sizes[2] != found.columns) {
        throw DeviceError(refrain::detail::concat("cudnnGetRNNWeightParams: expected [1, ", hidden_,
                                                  ", ", found.columns, "], got rank ", rank, " [",
                                                  sizes[0], ", ", sizes[1], ", ", sizes[2], "]"));
      }
      found.at[static_cast<std::size_t>(gate)] = static_cast<float*>(address) - space;
    }
    return found;
  }

  void load_weights(const LstmLayer& args, float* space, cudaStream_t stream) const {
    clear(space, weight_bytes_, stream);
    const Matrices input = matrices(space, 0);
    if (args.input_weight) {
      copy_in(args.input_weight.as<float>(), input, space, stream);
    } else {
      for (std::size_t g = 0; g < 4; ++g) {
        cuda::write_identity(space + input.at[g], static_cast<std::int64_t>(g) * hidden_, hidden_,
                             width_);
      }
    }
    copy_in(args.weight.as<float>(), matrices(space, 4), space, stream);
  }

  void forward(const LstmLayer& args, const float* weights, float* h_last, void* work) const {
    const bool trains = static_cast<bool>(args.reserve);
    check(
        cudnnRNNForward(handle_, rnn_, trains ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE,
                        nullptr, x_, args.x.data, h_, args.h.data, state_, args.h0.data, h_last,
                        state_, args.c0.data, args.c_last.data, weight_bytes_, weights, work_bytes_,
                        work, trains ? reserve_bytes_ : 0, args.reserve.data),
        "cudnnRNNForward");
  }

  void backward_data(const LstmLayerBackward& args, const void* dh, const void* dh_last,
                     const void* dc_last, void* dh0, void* dc0, const float* weights,
                     void* work) const {
    const LstmLayer& layer = args.forward;
    check(cudnnRNNBackwardData_v8(handle_, rnn_, nullptr, h_, layer.h.data, dh, x_, args.dx.data,
                                  state_, layer.h0.data, dh_last, dh0, state_, layer.c0.data,
                                  dc_last, dc0, weight_bytes_, weights, work_bytes_, work,
                                  reserve_bytes_, layer.reserve.data),
          "cudnnRNNBackwardData_v8");
  }

  /// Adds to dweights; call it after backward_data().
  void backward_weights(const LstmLayer& layer, float* dweights, void* work) const {
    check(
        cudnnRNNBackwardWeights_v8(handle_, rnn_, CUDNN_WGRAD_MODE_ADD, nullptr, x_, layer.x.data,
                                   state_, layer.h0.data, h_, layer.h.data, weight_bytes_, dweights,
                                   work_bytes_, work, reserve_bytes_, layer.reserve.data),
        "cudnnRNNBackwardWeights_v8");
  }

 private:
  void describe(cudnnRNNDataDescriptor_t data, std::int64_t width) const {
    const std::vector<int> lengths(static_cast<std::size_t>(extent(batch_)), extent(steps_));
    check(cudnnSetRNNDataDescriptor(data, CUDNN_DATA_FLOAT, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED,
                                    extent(steps_), extent(batch_), extent(width), lengths.data(),
                                    nullptr),
          "cudnnSetRNNDataDescriptor");
  }

  std::int64_t steps_, batch_, width_, hidden_;
  cudnnHandle_t handle_;
  RnnDescriptor rnn_;
  DataDescriptor x_, h_;
  TensorDescriptor state_;
  std::size_t weight_bytes_ = 0;
  std::size_t work_bytes_ = 0;
  std::size_t reserve_bytes_ = 0;
};

LstmLayer layer_of(const LstmForward& args) {
  return {.x = args.inputs,
          .weight = args.weight,
          .h0 = args.h0,
          .c0 = args.c0,
          .h = args.h,
          .c_last = args.c_last};
}

/// Runs the contract's segment as a layer with the identity as input weight.
void run_segment(const LstmForward& args, LstmLayer& layer, Scratch& scratch) {
  if (args.shared) {
    float* const sums = take_floats(scratch, args.inputs.shape.numel());
    if (!scratch.is_counting()) {
      cuda::add_to_rows(args.inputs.as<float>(), args.shared.as<float>(), args.inputs.shape[0],
                        args.shared.shape.numel(), sums);
    }
    layer.x.data = sums;
  }
  lstm_layer(layer, scratch);
}

}  // namespace

void lstm_layer(const LstmLayer& args, Scratch& scratch) {
  const cudaStream_t queue = current_queue();
  const HandleLock handle(queue);
  const Lstm lstm(args, handle);
  float* const weights = take_bytes(scratch, lstm.weight_bytes()).as<float>();
  void* const work = take_bytes(scratch, lstm.work_bytes()).data;
  float* const h_last = take_floats(scratch, lstm.states());
  if (scratch.is_counting()) return;
  lstm.load_weights(args, weights, queue);
  lstm.forward(args, weights, h_last, work);
}

std::size_t lstm_reserve_bytes(const LstmLayer& args) {
  const HandleLock handle;
  return Lstm(args, handle).reserve_bytes();
}

void lstm_layer_backward(const LstmLayerBackward& args, Scratch& scratch) {
  const LstmLayer& layer = args.forward;
  const cudaStream_t queue = current_queue();
  const HandleLock handle(queue);
  const Lstm lstm(layer, handle);
  float* const weights = take_bytes(scratch, lstm.weight_bytes()).as<float>();
  float* const dweights = take_bytes(scratch, lstm.weight_bytes()).as<float>();
  void* const work = take_bytes(scratch, lstm.work_bytes()).data;
  // [B,H]: the gradient of the last h, and dc_last when it is not given
  float* const zeros = take_floats(scratch, lstm.states());
  float* const dh0 = take_floats(scratch, lstm.states());
  float* const dc0 = take_floats(scratch, lstm.states());
  float* const no_dh = args.dh ? nullptr : take_floats(scratch, lstm.outputs());
  if (scratch.is_counting()) return;
  if (!layer.reserve)
    throw Unsupported("cuDNN lstm: no backward pass without the reserve of a forward pass");
  lstm.load_weights(layer, weights, queue);
  const auto bytes = [](std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
  };
  clear(zeros, bytes(lstm.states()), queue);
  if (!args.dh) clear(no_dh, bytes(lstm.outputs()), queue);
  lstm.backward_data(args, args.dh ? args.dh.data : no_dh, zeros,
                     args.dc_last ? args.dc_last.data : zeros, args.dh0 ? args.dh0.data : dh0,
                     args.dc0 ? args.dc0.data : dc0, weights, work);
  if (!args.dweight && !args.dinput_weight) return;
  clear(dweights, lstm.weight_bytes(), queue);
  const Matrices recurrent = lstm.matrices(dweights, 4);
  if (args.dweight && args.add_dweight)
    copy_in(args.dweight.as<float>(), recurrent, dweights, queue);
  lstm.backward_weights(layer, dweights, work);
  if (args.dweight) copy_out(dweights, recurrent, args.dweight.as<float>(), queue);
  if (args.dinput_weight)
    copy_out(dweights, lstm.matrices(dweights, 0), args.dinput_weight.as<float>(), queue);
}

void lstm_forward(const LstmForward& args, Scratch& scratch) {
  if (args.c || args.gates)
    throw Unsupported("cuDNN lstm_forward: cells and gates of the steps stay in cuDNN's reserve");
  LstmLayer layer = layer_of(args);
  run_segment(args, layer, scratch);
}

void lstm_backward(const LstmBackwardFromInputs& args, Scratch& scratch) {
  // The forward pass again, with temporary outputs.
  LstmLayer layer = layer_of(args.forward);
  const Shape& inputs = args.forward.inputs.shape;
  layer.h = take_bytes(scratch, static_cast<std::size_t>(inputs.numel() / 4) * sizeof(float));
  layer.h.shape = {inputs[0], inputs[1], inputs[2] / 4};
  layer.c_last =
      take_bytes(scratch, static_cast<std::size_t>(args.forward.c0.shape.numel()) * sizeof(float));
  layer.c_last.shape = args.forward.c0.shape;
  layer.reserve = take_bytes(scratch, lstm_reserve_bytes(layer));
  run_segment(args.forward, layer, scratch);
  lstm_layer_backward({.forward = layer,
                       .dh = args.backward.dh,
                       .dc_last = args.backward.dc_last,
                       .dx = args.backward.dinputs,
                       .dweight = args.backward.dweight,
                       .dh0 = args.backward.dh0,
                       .dc0 = args.backward.dc0,
                       .add_dweight = args.backward.add_dweight},
                      scratch);
  if (!args.backward.dshared || scratch.is_counting()) return;
  // dinputs as rows of one time step each.
  View steps = args.backward.dinputs;
  steps.shape = {steps.shape[0], steps.shape[1] * steps.shape[2]};
  kernels::run(SumRows{.x = steps, .out = args.backward.dshared});
}

}  // namespace refrain::kernels::cudnn
