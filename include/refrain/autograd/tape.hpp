#pragma once
/// The tape: records operations and runs them backwards.

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "refrain/autograd/variable.hpp"
#include "refrain/core/export.hpp"

namespace refrain {

/// Stops recording on this thread while an object of this class exists.
class REFRAIN_API NoGrad {
 public:
  NoGrad() noexcept : before_(std::exchange(recording_, false)) {}
  ~NoGrad() { recording_ = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

  /// True when operations of this thread are recorded.
  static bool is_recording() noexcept { return recording_; }

 private:
  static inline thread_local bool recording_ = true;
  bool before_;
};

namespace detail {

struct Edge;
template <std::size_t Outputs, std::size_t Inputs, class Backward>
class RecordedNode;

struct REFRAIN_API TapeAccess {
  static VariableState& state(const Variable& variable) { return variable.state(); }

  static Edge edge(const Variable& input);
};

/// The destination of one input's gradient: the operation that produced the input, a leaf, or
/// nothing when neither is set. An edge does not keep the input's value; a backward function saves
/// the tensors that it reads.
struct Edge {
  std::shared_ptr<Node> producer;
  int output = 0;
  std::shared_ptr<VariableState> leaf;
  Shape shape;  ///< shape of a defined input, like dtype and device below
  DType dtype = DType::f32;
  Device device = Device::cpu;

  /// False also for a leaf that was frozen after the operation was recorded.
  bool needed() const noexcept {
    return producer != nullptr || (leaf != nullptr && leaf->requires_grad);
  }
};

}  // namespace detail

/// The gradient of an operation's result, passed to its backward function. Undefined when the root
/// of the pass does not depend on this result.
class UpstreamGradient : public Tensor {
 public:
  UpstreamGradient() = default;
  UpstreamGradient(Tensor gradient, bool is_seed_of_ones)
      : Tensor(std::move(gradient)), is_seed_of_ones_(is_seed_of_ones) {}

  /// True when the gradient is one element known to be 1. Off the CPU, where reading the element
  /// would wait for the device, only the loss that backward() started from has a known gradient.
  bool is_one() const {
    return is_seed_of_ones_ || (device() == Device::cpu && numel() == 1 && item() == 1.0);
  }

 private:
  bool is_seed_of_ones_ = false;
};

/// The gradient of one input, as an argument of the operation's backward function.
///
/// A kernel writes it like any output: it is uninitialized memory of the input's shape, which is
/// added to the input's gradient when the backward function returns, or an empty view when the
/// gradient is not needed. Adding to an unneeded gradient has no effect.
class InputGradient {
 public:
  explicit InputGradient(const detail::Edge& input) noexcept : input_(&input) {}

  /// False when the input requires no gradient. An operation that computes gradients one by one
  /// checks this before each.
  bool needed() const noexcept { return input_->needed(); }

  /// The shape of the input and of its gradient.
  const Shape& shape() const noexcept { return input_->shape; }

  operator MutableView() & {  // NOLINT(google-explicit-constructor): reads like any other output
    if (!needed()) return {};
    if (!written_.defined()) written_ = Tensor(input_->shape, input_->dtype, input_->device);
    return written_;
  }

  /// The same memory as a matrix [rows, last extent].
  MutableView as_matrix() & {
    MutableView view = *this;
    if (view) view.shape = {view.shape.rows(), view.shape[-1]};
    return view;
  }

  /// The sum of the contributions so far, initially zero, for a kernel that adds to it in place; an
  /// empty view when the gradient is not needed.
  MutableView sum() {
    Gradient* const gradient = target();
    if (gradient == nullptr) return {};
    return gradient->accumulator(input_->shape, input_->dtype, input_->device);
  }

  /// Adds a contribution. Throws ShapeError, DTypeError or DeviceError unless it matches the leaf
  /// that it belongs to.
  void add(Tensor gradient) { put(std::move(gradient)); }
  /// Adds a row-sparse contribution.
  void add(RowSparse gradient) { put(std::move(gradient)); }

  /// Adds a contribution to rows [begin, begin + gradient.size(0)) of the outermost axis.
  void add_slice(std::int64_t begin, const Tensor& gradient) {
    Gradient* const whole = target();
    if (whole == nullptr) return;
    Tensor rows = whole->accumulator(input_->shape, input_->dtype, input_->device)
                      .slice(begin, begin + gradient.size(0));
    kernels::run(kernels::LinearCombination{.a = rows, .b = gradient, .out = rows});
  }

 private:
  template <std::size_t, std::size_t, class>
  friend class detail::RecordedNode;

  /// Null when the gradient is not needed.
  Gradient* target() const;
  template <class Contribution>
  void put(Contribution contribution);
  /// Adds the memory that kernels have written to the gradient.
  void finish() {
    if (written_.defined()) put(std::move(written_));
  }

  const detail::Edge* input_;
  Tensor written_;
};

/// The gradients of an operation whose number of inputs is known only when it runs.
class InputGradients {
 public:
  explicit InputGradients(std::span<const detail::Edge> inputs) : inputs_(inputs) {}
  std::size_t size() const noexcept { return inputs_.size(); }
  InputGradient operator[](std::size_t index) const { return InputGradient(inputs_[index]); }

 private:
  std::span<const detail::Edge> inputs_;
};

namespace detail {

/// One recorded operation. Its edges keep earlier operations alive; its backward function owns the
/// saved tensors.
class REFRAIN_API Node {
 public:
  Node(const char* op, std::size_t outputs, std::span<const Variable> inputs);
  virtual ~Node() { drop_inputs(); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Operations are allocated from the memory pool, with any type of backward function.
  static void* operator new(std::size_t bytes) { return pool_allocate(bytes, Device::cpu); }
  static void operator delete(void* block, std::size_t bytes) noexcept {
    pool_release(block, bytes, Device::cpu);
  }

  const char* op() const noexcept { return op_; }

 protected:
  /// Calls the backward function with the gradients of the results.
  virtual void run(const UpstreamGradient* upstream) = 0;
  virtual void release() noexcept = 0;
  /// The shape of result `index`.
  virtual const Shape& shape(std::size_t index) const noexcept = 0;

 private:
  friend class Tape;
  friend class refrain::InputGradient;
  template <std::size_t, std::size_t, class>
  friend class RecordedNode;

  const char* op_;
  std::uint64_t order_ = next_order();
  std::uint64_t visited_ = 0;
  bool released_ = false;
  PooledVector<Edge> inputs_;
  PooledVector<Gradient> gradients_;
  std::shared_ptr<Node> next_;  ///< link of the list in drop_inputs()

  /// Releases the inputs. Operations without another owner are listed and freed one by one; nested
  /// destructors would overflow the stack after a long history.
  void drop_inputs() noexcept;
  static std::uint64_t next_order() noexcept;
};

/// A recorded operation with `Inputs` inputs, or std::dynamic_extent when their number is known
/// only at run time.
template <std::size_t Outputs, std::size_t Inputs, class Backward>
class RecordedNode final : public Node {
 public:
  RecordedNode(const char* op, const std::array<Variable, Outputs>& results,
               std::span<const Variable> inputs, Backward&& backward)
      : Node(op, Outputs, inputs), backward_(std::move(backward)) {
    for (std::size_t i = 0; i < Outputs; ++i) shapes_[i] = results[i].shape();
  }
  ~RecordedNode() override { release(); }

 protected:
  void run(const UpstreamGradient* upstream) override {
    call(upstream, std::make_index_sequence<Outputs>());
  }
  void release() noexcept override {
    if (holds_backward_) backward_.~Backward();
    holds_backward_ = false;
  }
  const Shape& shape(std::size_t index) const noexcept override { return shapes_[index]; }

 private:
  template <std::size_t... Output>
  void call(const UpstreamGradient* upstream, std::index_sequence<Output...>) {
    if constexpr (Inputs == std::dynamic_extent) {
      backward_(upstream[Output]..., InputGradients(inputs_));
    } else {
      [&]<std::size_t... Input>(std::index_sequence<Input...>) {
        InputGradient gradients[]{InputGradient(inputs_[Input])...};
        static_assert(
            requires { backward_(upstream[Output]..., gradients[Input]...); },
            "a backward function takes the gradient of each result, and one "
            "InputGradient& for each input");
        backward_(upstream[Output]..., gradients[Input]...);
        for (InputGradient& gradient : gradients) gradient.finish();
      }
      (std::make_index_sequence<Inputs>());
    }
  }

  std::array<Shape, Outputs> shapes_;
  union {
    Backward backward_;  ///< destroyed by release(), before the operation itself
  };
  bool holds_backward_ = true;
};

class REFRAIN_API Tape {
 public:
  /// `seed_is_one`: all elements of the seed are 1.
  static void backward(const Variable& root, Tensor seed, bool retain, bool seed_is_one);

 private:
  static PooledVector<std::shared_ptr<Node>> collect(const std::shared_ptr<Node>& root);
  static void run(Node& node, bool retain, bool seed_is_one);
  static void clear_gradients(Node& node);
};

}  // namespace detail

inline Gradient* InputGradient::target() const {
  if (!needed()) return nullptr;
  return input_->leaf != nullptr
             ? &input_->leaf->gradient
             : &input_->producer->gradients_[static_cast<std::size_t>(input_->output)];
}

template <class Contribution>
void InputGradient::put(Contribution contribution) {
  Gradient* const gradient = target();
  if (gradient == nullptr) return;
  if (input_->leaf != nullptr) detail::check_gradient("a leaf", contribution, input_->leaf->value);
  gradient->add(std::move(contribution));
}

/// True when an operation on these inputs is recorded and has to save the tensors that its backward
/// function reads.
template <std::same_as<Variable>... Inputs>
bool is_recorded(const Inputs&... inputs) {
  return NoGrad::is_recording() && (inputs.requires_grad() || ...);
}

namespace detail {

/// True when an operation on these inputs is recorded.
REFRAIN_API bool is_any_recorded(std::span<const Variable> inputs);

/// Makes `operation`, which the results then own, the producer of these results.
REFRAIN_API void set_producer(std::span<Variable> results, Node* operation);

/// Creates the results of an operation and, when it is recorded, puts the operation on the tape.
template <std::size_t Outputs, std::size_t Inputs, class Backward>
std::array<Variable, Outputs> record(const char* op, Tensor* values,
                                     std::span<const Variable> inputs, Backward&& backward) {
  std::array<Variable, Outputs> results;
  for (std::size_t i = 0; i < Outputs; ++i) results[i] = Variable(std::move(values[i]));
  if (is_any_recorded(inputs)) {
    set_producer(results, new RecordedNode<Outputs, Inputs, Backward>(op, results, inputs,
                                                                      std::move(backward)));
  }
  return results;
}

}  // namespace detail

/// Creates the result of an operation and, when is_recorded(inputs...), puts the operation on the
/// tape.
///
/// The backward function takes the gradient of the result and, for each input in order, an
/// InputGradient to which it adds:
///
///   return record("multiply", std::move(y), {a, b},
///                 [a = a.value(), b = b.value()](const Tensor& dy, auto& da, auto& db) { ... });
///
/// The function owns the tensors that it captures by value; they are freed after it has run. Inputs
/// may be undefined.
template <std::size_t Inputs, class Backward>
Variable record(const char* op, Tensor value, const Variable (&inputs)[Inputs], Backward backward) {
  return std::move(detail::record<1, Inputs>(op, &value, inputs, std::move(backward))[0]);
}

/// record() for an operation with several results: the backward function takes the gradients of all
/// results, undefined where the root does not depend on a result, and then those of the inputs.
template <std::size_t Outputs, std::size_t Inputs, class Backward>
std::array<Variable, Outputs> record(const char* op, Tensor (&&values)[Outputs],
                                     const Variable (&inputs)[Inputs], Backward backward) {
  return detail::record<Outputs, Inputs>(op, values, inputs, std::move(backward));
}

/// record() for an operation with any number of inputs: the backward function takes the gradient of
/// the result and InputGradients.
template <class Backward>
Variable record(const char* op, Tensor value, std::span<const Variable> inputs, Backward backward) {
  return std::move(
      detail::record<1, std::dynamic_extent>(op, &value, inputs, std::move(backward))[0]);
}

/// Options of backward().
struct BackwardOptions {
  bool retain = false;  ///< keep the saved tensors, so that backward() can run again
};

/// Adds d root / d leaf to the gradient of every leaf that requires one, and runs the operations in
/// reverse order of recording. The saved tensors of an operation are freed after it has run, unless
/// options.retain. Throws AutogradError unless the root has one element, depends on a leaf that
/// requires a gradient, and no earlier pass has freed the saved tensors.
REFRAIN_API void backward(const Variable& root, BackwardOptions options = {});

/// backward() with the upstream gradient d loss / d root, which is copied. Throws ShapeError,
/// DTypeError or DeviceError unless its shape, dtype and device are those of the root.
REFRAIN_API void backward(const Variable& root, const Tensor& upstream,
                          BackwardOptions options = {});

}  // namespace refrain
