// A whole LSTM segment by cuDNN.
//
// cuDNN's LSTM multiplies its input by a weight; its "skip input" takes inputs of H elements that
// all gates share. Our contract's inputs are 4H different sums, so they are multiplied by the
// identity [4H,4H]: sums of x and zeros, which are x bit for bit when factors are not rounded.
// Gates lie i, f, g, o in both. All sequences have L steps, so "packed" time-major data are ours as
// they lie.
//
// Weights live in a space of cuDNN's own layout, filled at each call: a figure for one call
// includes that copy of 4H (E + H) elements.

#include <array>
#include <limits>
#include <vector>

#include "kernels/cuda.hpp"
#include "kernels/cudnn/cudnn.hpp"
#include "kernels/cudnn/handle_cuda.hpp"
#include "kernels/cudnn/layouts.hpp"
#include "refrain/core/math_mode.hpp"

namespace refrain::kernels::cudnn {
namespace {

using refrain::cuda::check;
using refrain::cuda::native;

/// A descriptor that lives as long as this.
template <class Made, cudnnStatus_t (*create)(Made*), cudnnStatus_t (*destroy)(Made)>
class Owned {
 public:
  Owned() { check(create(&made_), "cuDNN: a descriptor"); }
  ~Owned() { destroy(made_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

  operator Made() const noexcept {
    return made_;
  }  // NOLINT(google-explicit-constructor): it stands for the descriptor

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
    throw Unsupported(concat("cuDNN lstm: expected extents from 1 to 2^31 - 1, got ", value));
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

/// Where the weights of a layer lie in cuDNN's space: gate g's [H,columns] at `at[g]` elements.
struct Matrices {
  std::array<std::int64_t, 4> at{};
  std::int64_t hidden = 0;
  std::int64_t columns = 0;

  std::int64_t elements() const { return hidden * columns; }
  /// True when the four lie one after the other.
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

/// weight [4H,columns] into the space, or out of it.
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

/// A layer as cuDNN is told of it, under the handle's lock.
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
      throw ShapeError(concat("cuDNN lstm: expected x [L,B,4H] without an input weight, got ",
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
  std::size_t reserve_bytes() const { return reserve_bytes_; }  ///< of training

  /// Matrices of the input's product (first = 0) or of the recurrent one (first = 4).
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
        throw DeviceError(concat("cudnnGetRNNWeightParams: expected [1, ", hidden_, ", ",
                                 found.columns, "], got rank ", rank, " [", sizes[0], ", ",
                                 sizes[1], ", ", sizes[2], "]"));
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
                             width_, {stream});
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

  /// Adds to dweights; after backward_data.
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

struct LayerPieces {
  float* weights;
  void* work;
  float* h_last;

  LayerPieces(const Lstm& lstm, Pieces& pieces)
      : weights(pieces.bytes(lstm.weight_bytes()).as<float>()),
        work(pieces.bytes(lstm.work_bytes()).data),
        h_last(pieces.floats(lstm.states())) {}
};

struct LayerBackwardPieces {
  float* weights;
  float* dweights;
  void* work;
  float* zeros;  ///< [B,H]: the gradient of the last h, and dc_last when it is not given
  float* no_dh = nullptr;
  float* dh0;
  float* dc0;

  LayerBackwardPieces(const LstmLayerBackward& args, const Lstm& lstm, Pieces& pieces)
      : weights(pieces.bytes(lstm.weight_bytes()).as<float>()),
        dweights(pieces.bytes(lstm.weight_bytes()).as<float>()),
        work(pieces.bytes(lstm.work_bytes()).data),
        zeros(pieces.floats(lstm.states())),
        dh0(pieces.floats(lstm.states())),
        dc0(pieces.floats(lstm.states())) {
    if (!args.dh) no_dh = pieces.floats(lstm.outputs());
  }
};

/// The contract's segment as a layer with the identity for its input weight.
struct SegmentPieces {
  float* sums = nullptr;  ///< inputs + shared
  MutableView layer;      ///< workspace

  SegmentPieces(const LstmForward& args, const LstmLayer& as_layer, Pieces& pieces) {
    if (args.shared) sums = pieces.floats(args.inputs.shape.numel());
    layer = pieces.bytes(lstm_layer_workspace(as_layer));
  }
};

LstmLayer layer_of(const LstmForward& args) {
  return {.x = args.inputs,
          .weight = args.weight,
          .h0 = args.h0,
          .c0 = args.c0,
          .h = args.h,
          .c_last = args.c_last};
}

void run_segment(const LstmForward& args, LstmLayer& layer, const SegmentPieces& pieces,
                 Stream stream) {
  if (args.shared) {
    cuda::add_to_rows(args.inputs.as<float>(), args.shared.as<float>(), args.inputs.shape[0],
                      args.shared.shape.numel(), pieces.sums, stream);
    layer.x.data = pieces.sums;
  }
  layer.workspace = pieces.layer;
  lstm_layer(layer, stream);
}

struct BackwardFromInputsPieces {
  LstmLayer layer;
  LstmLayerBackward gradients;
  SegmentPieces segment;
  MutableView backward;  ///< workspace
  MutableView sums{};    ///< that of dshared

  BackwardFromInputsPieces(const LstmBackwardFromInputs& args, Pieces& pieces)
      : layer(started(args, pieces)),
        gradients{.forward = layer,
                  .dh = args.backward.dh,
                  .dc_last = args.backward.dc_last,
                  .dx = args.backward.dinputs,
                  .dweight = args.backward.dweight,
                  .dh0 = args.backward.dh0,
                  .dc0 = args.backward.dc0,
                  .add_dweight = args.backward.add_dweight},
        segment(args.forward, layer, pieces),
        backward(pieces.bytes(lstm_layer_backward_workspace(gradients))) {
    if (args.backward.dshared) sums = pieces.bytes(cuda::sum_rows_workspace(shared_gradient(args)));
  }

  /// The segment again, with outputs of our own.
  static LstmLayer started(const LstmBackwardFromInputs& args, Pieces& pieces) {
    LstmLayer layer = layer_of(args.forward);
    const Shape& inputs = args.forward.inputs.shape;
    layer.h = pieces.bytes(static_cast<std::size_t>(inputs.numel() / 4) * sizeof(float));
    layer.h.shape = {inputs[0], inputs[1], inputs[2] / 4};
    layer.c_last =
        pieces.bytes(static_cast<std::size_t>(args.forward.c0.shape.numel()) * sizeof(float));
    layer.c_last.shape = args.forward.c0.shape;
    layer.reserve = pieces.bytes(lstm_reserve_bytes(layer));
    return layer;
  }

  /// dinputs as rows of one step each, as sum_rows takes them.
  static SumRows shared_gradient(const LstmBackwardFromInputs& args) {
    View steps = args.backward.dinputs;
    steps.shape = {steps.shape[0], steps.shape[1] * steps.shape[2]};
    return {.x = steps, .out = args.backward.dshared};
  }
};

}  // namespace

void lstm_layer(const LstmLayer& args, Stream stream) {
  const cudaStream_t queue = native(stream);
  const HandleLock handle(queue);
  const Lstm lstm(args, handle);
  Pieces pieces(args.workspace.data);
  const LayerPieces own(lstm, pieces);
  lstm.load_weights(args, own.weights, queue);
  lstm.forward(args, own.weights, own.h_last, own.work);
}

std::size_t lstm_layer_workspace(const LstmLayer& args) {
  const HandleLock handle;
  Pieces pieces(nullptr);
  LayerPieces(Lstm(args, handle), pieces);
  return pieces.used();
}

std::size_t lstm_reserve_bytes(const LstmLayer& args) {
  const HandleLock handle;
  return Lstm(args, handle).reserve_bytes();
}

void lstm_layer_backward(const LstmLayerBackward& args, Stream stream) {
  const LstmLayer& layer = args.forward;
  if (!layer.reserve)
    throw Unsupported("cuDNN lstm: no backward pass without the reserve of a forward pass");
  const cudaStream_t queue = native(stream);
  const HandleLock handle(queue);
  const Lstm lstm(layer, handle);
  Pieces pieces(args.workspace.data);
  const LayerBackwardPieces own(args, lstm, pieces);
  lstm.load_weights(layer, own.weights, queue);
  const auto bytes = [](std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
  };
  clear(own.zeros, bytes(lstm.states()), queue);
  if (!args.dh) clear(own.no_dh, bytes(lstm.outputs()), queue);
  lstm.backward_data(args, args.dh ? args.dh.data : own.no_dh, own.zeros,
                     args.dc_last ? args.dc_last.data : own.zeros,
                     args.dh0 ? args.dh0.data : own.dh0, args.dc0 ? args.dc0.data : own.dc0,
                     own.weights, own.work);
  if (!args.dweight && !args.dinput_weight) return;
  clear(own.dweights, lstm.weight_bytes(), queue);
  const Matrices recurrent = lstm.matrices(own.dweights, 4);
  if (args.dweight && args.add_dweight)
    copy_in(args.dweight.as<float>(), recurrent, own.dweights, queue);
  lstm.backward_weights(layer, own.dweights, own.work);
  if (args.dweight) copy_out(own.dweights, recurrent, args.dweight.as<float>(), queue);
  if (args.dinput_weight)
    copy_out(own.dweights, lstm.matrices(own.dweights, 0), args.dinput_weight.as<float>(), queue);
}

std::size_t lstm_layer_backward_workspace(const LstmLayerBackward& args) {
  const HandleLock handle;
  Pieces pieces(nullptr);
  LayerBackwardPieces(args, Lstm(args.forward, handle), pieces);
  return pieces.used();
}

void lstm_forward(const LstmForward& args, Stream stream) {
  if (args.c || args.gates)
    throw Unsupported("cuDNN lstm_forward: cells and gates of the steps stay in cuDNN's reserve");
  LstmLayer layer = layer_of(args);
  Pieces pieces(args.workspace.data);
  const SegmentPieces own(args, layer, pieces);
  run_segment(args, layer, own, stream);
}

std::size_t lstm_forward_workspace(const LstmForward& args) {
  Pieces pieces(nullptr);
  SegmentPieces(args, layer_of(args), pieces);
  return pieces.used();
}

void lstm_backward(const LstmBackwardFromInputs& args, Stream stream) {
  Pieces pieces(args.workspace.data);
  BackwardFromInputsPieces own(args, pieces);
  run_segment(args.forward, own.layer, own.segment, stream);
  own.gradients.forward = own.layer;
  own.gradients.workspace = own.backward;
  lstm_layer_backward(own.gradients, stream);
  if (!args.backward.dshared) return;
  SumRows shared = BackwardFromInputsPieces::shared_gradient(args);
  shared.workspace = own.sums;
  cuda::sum_rows(shared, stream);
}

std::size_t lstm_backward_workspace(const LstmBackwardFromInputs& args) {
  Pieces pieces(nullptr);
  BackwardFromInputsPieces(args, pieces);
  return pieces.used();
}

}  // namespace refrain::kernels::cudnn
