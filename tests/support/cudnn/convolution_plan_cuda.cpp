// Plans of cuDNN's graph API for a dilated convolution.
//
// [B,T,C] is an image of height 1 with channels innermost: dimensions [B,C,1,T], strides [T C, 1, T
// C, C]. The filter is [Cout,Cin,1,K] with channels innermost, and a cross-correlation reads the
// oldest time step first, so the order of the taps is reversed (layouts.hpp). Padding differs at
// the two ends: `before` time steps of zeros in front and `after` behind, before + after = (K-1)
// dilation, so every output has T time steps and we neither pad nor cut.
//
// Finding an engine takes milliseconds, so plans are cached per problem.

#include "support/cudnn/convolution_plan_cuda.hpp"

#include <map>
#include <utility>
#include <vector>

namespace refrain::kernels::cudnn {
namespace {

using refrain::cuda::check;

/// The cuDNN name of the type of an attribute. A descriptor is a void*, so other addresses are
/// passed with their type.
using AttributeType = cudnnBackendAttributeType_t;
constexpr AttributeType attribute_type(cudnnBackendDescriptor_t const*) {
  return CUDNN_TYPE_BACKEND_DESCRIPTOR;
}
constexpr AttributeType attribute_type(std::int64_t const*) { return CUDNN_TYPE_INT64; }
constexpr AttributeType attribute_type(float const*) { return CUDNN_TYPE_FLOAT; }
constexpr AttributeType attribute_type(char const*) { return CUDNN_TYPE_CHAR; }
constexpr AttributeType attribute_type(cudnnHandle_t const*) { return CUDNN_TYPE_HANDLE; }
constexpr AttributeType attribute_type(cudnnDataType_t const*) { return CUDNN_TYPE_DATA_TYPE; }
constexpr AttributeType attribute_type(cudnnConvolutionMode_t const*) {
  return CUDNN_TYPE_CONVOLUTION_MODE;
}
constexpr AttributeType attribute_type(cudnnBackendHeurMode_t const*) {
  return CUDNN_TYPE_HEUR_MODE;
}
constexpr AttributeType attribute_type(cudnnBackendNumericalNote_t const*) {
  return CUDNN_TYPE_NUMERICAL_NOTE;
}

/// One descriptor of the graph API: created, given its attributes, finalized.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &made_), "cudnnBackendCreateDescriptor");
  }
  Descriptor(Descriptor&& other) noexcept : made_(std::exchange(other.made_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (made_ != nullptr) cudnnBackendDestroyDescriptor(made_);
  }

  cudnnBackendDescriptor_t get() const { return made_; }

  template <class T>
  void set(cudnnBackendAttributeName_t name, const std::vector<T>& values) {
    set(name, values, attribute_type(values.data()));
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, const std::vector<T>& values, AttributeType type) {
    check(cudnnBackendSetAttribute(made_, name, type, static_cast<std::int64_t>(values.size()),
                                   values.data()),
          "cudnnBackendSetAttribute");
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, std::vector{value.get()});
  }

  /// Number of values of the attribute.
  template <class T>
  std::int64_t count(cudnnBackendAttributeName_t name) const {
    std::int64_t found = 0;
    check(cudnnBackendGetAttribute(made_, name, attribute_type(static_cast<const T*>(nullptr)), 0,
                                   &found, nullptr),
          "cudnnBackendGetAttribute");
    return found;
  }
  /// Reads up to values.size() values and returns their number. Descriptors must have been created
  /// before.
  template <class T>
  std::int64_t read(cudnnBackendAttributeName_t name, std::vector<T>& values) const {
    std::int64_t found = 0;
    check(cudnnBackendGetAttribute(made_, name, attribute_type(values.data()),
                                   static_cast<std::int64_t>(values.size()), &found, values.data()),
          "cudnnBackendGetAttribute");
    return found;
  }

  cudnnStatus_t try_finalize() { return cudnnBackendFinalize(made_); }
  void finalize() { check(try_finalize(), "cudnnBackendFinalize"); }

 private:
  cudnnBackendDescriptor_t made_ = nullptr;
};

/// Ids of the tensors in a graph and in the list of its pointers.
constexpr std::int64_t x_id = 1, filter_id = 2, y_id = 3;

/// Dimensions [outer,channels,1,steps], channels innermost.
Descriptor tensor(std::int64_t id, std::int64_t outer, std::int64_t steps, std::int64_t channels,
                  std::int64_t aligned) {
  Descriptor made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::vector{id});
  made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, std::vector{CUDNN_DATA_FLOAT});
  made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::vector{aligned});
  made.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<std::int64_t>{outer, channels, 1, steps});
  made.set(CUDNN_ATTR_TENSOR_STRIDES,
           std::vector<std::int64_t>{steps * channels, 1, steps * channels, channels});
  made.finalize();
  return made;
}

Descriptor convolution(const Problem& p) {
  Descriptor made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  made.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::vector<std::int64_t>{2});
  made.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, std::vector{CUDNN_DATA_FLOAT});
  made.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, std::vector{CUDNN_CROSS_CORRELATION});
  made.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::vector<std::int64_t>{1, p.dilation});
  made.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::vector<std::int64_t>{1, 1});
  made.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::vector<std::int64_t>{0, p.before});
  made.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::vector<std::int64_t>{0, p.after});
  made.finalize();
  return made;
}

/// Names of the attributes of one kind of operation.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, x, filter, y, alpha, beta;
};

OperationNames names_of(Direction direction) {
  switch (direction) {
    case Direction::to_input:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case Direction::to_filter:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    default:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  }
}

/// A graph with one operation.
Descriptor graph_of(const Problem& p) {
  const Descriptor x = tensor(x_id, p.batch, p.steps, p.in, p.x_alignment);
  const Descriptor filter = tensor(filter_id, p.out, p.taps, p.in, 16);
  const Descriptor y = tensor(y_id, p.batch, p.steps, p.out, p.y_alignment);
  const Descriptor described = convolution(p);
  const OperationNames names = names_of(p.direction);
  Descriptor operation(names.type);
  operation.set(names.convolution, described);
  operation.set(names.x, x);
  operation.set(names.filter, filter);
  operation.set(names.y, y);
  operation.set(names.alpha, std::vector{1.0f});
  operation.set(names.beta, std::vector{0.0f});
  operation.finalize();
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  graph.finalize();
  return graph;
}

/// True when an engine computes in the arithmetic of the mode and is deterministic.
bool is_allowed(const Descriptor& configuration, MathMode mode) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> engines{engine.get()};
  configuration.read(CUDNN_ATTR_ENGINECFG_ENGINE, engines);
  std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  notes.resize(static_cast<std::size_t>(engine.read(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, notes)));
  for (const cudnnBackendNumericalNote_t note : notes) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        break;
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        return false;
      default:  // tensor cores, transforms
        if (mode == MathMode::exact) return false;
    }
  }
  return true;
}

struct Plan {
  Descriptor execution;
  std::int64_t workspace_bytes;
};

/// The first allowed engine of those that cuDNN proposes for a device.
Plan plan_for(const Problem& p, const Descriptor& device) {
  const Descriptor graph = graph_of(p);
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, std::vector{mode});
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    heuristic.finalize();
    std::vector<Descriptor> proposed;
    std::vector<cudnnBackendDescriptor_t> addresses;
    const std::int64_t count =
        heuristic.count<cudnnBackendDescriptor_t>(CUDNN_ATTR_ENGINEHEUR_RESULTS);
    for (std::int64_t i = 0; i < count; ++i) {
      proposed.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      addresses.push_back(proposed.back().get());
    }
    const std::int64_t read =
        count == 0 ? 0 : heuristic.read(CUDNN_ATTR_ENGINEHEUR_RESULTS, addresses);
    for (std::int64_t i = 0; i < read; ++i) {
      const Descriptor& configuration = proposed[static_cast<std::size_t>(i)];
      if (!is_allowed(configuration, p.mode)) continue;
      Descriptor execution(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      execution.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      execution.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
      const cudnnStatus_t status = execution.try_finalize();
      if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED)
        continue;  // heuristics may propose unsupported engines
      check(status, "cudnnBackendFinalize");
      std::vector<std::int64_t> bytes(1);
      execution.read(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, bytes);
      return {std::move(execution), bytes[0]};
    }
  }
  throw Unsupported(refrain::detail::concat("cuDNN convolution: no deterministic engine in mode ",
                                            name(p.mode), " for B ", p.batch, ", T ", p.steps,
                                            ", Cin ", p.in, ", Cout ", p.out, ", K ", p.taps,
                                            ", dilation ", p.dilation));
}

/// The plan for the GPU of the handle.
const Plan& known_plan(const Problem& problem, cudnnHandle_t handle) {
  // Guarded by the handle's lock; never destroyed, like the handle.
  static std::map<Problem, Plan>& plans = *new std::map<Problem, Plan>;
  const auto known = plans.find(problem);
  if (known != plans.end()) return known->second;
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_HANDLE, std::vector{handle});
  device.finalize();
  return plans.emplace(problem, plan_for(problem, device)).first->second;
}

Descriptor described_device(const std::string& json) {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
             std::vector<char>(json.c_str(), json.c_str() + json.size() + 1));
  const cudnnStatus_t status = device.try_finalize();
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_BAD_PARAM) {
    throw OptionError(refrain::detail::concat(
        "cuDNN ", cudnnGetVersion(), " describes a device by other properties than ", json));
  }
  check(status, "cudnnBackendFinalize");
  return device;
}

}  // namespace

void run(const Problem& problem, const Operands& operands, cudaStream_t stream) {
  const HandleLock handle(stream);
  const Plan& plan = known_plan(problem, handle);
  Descriptor pointers(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pointers.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::vector{x_id, filter_id, y_id});
  pointers.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
               std::vector{const_cast<void*>(operands.x), const_cast<void*>(operands.filter),
                           const_cast<void*>(operands.y)},
               CUDNN_TYPE_VOID_PTR);
  pointers.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, std::vector{operands.workspace},
               CUDNN_TYPE_VOID_PTR);
  pointers.finalize();
  check(cudnnBackendExecute(handle, plan.execution.get(), pointers.get()), "cudnnBackendExecute");
}

std::size_t workspace_bytes(const Problem& problem) {
  const HandleLock handle;
  return static_cast<std::size_t>(known_plan(problem, handle).workspace_bytes);
}

std::size_t workspace_bytes(const Problem& problem, const std::string& device) {
  return static_cast<std::size_t>(plan_for(problem, described_device(device)).workspace_bytes);
}

}  // namespace refrain::kernels::cudnn
