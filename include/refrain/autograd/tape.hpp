#pragma once
/// Capture operations and running them backwards.

#include <algorithm>
#include <array>
#include <atomic>
#include <initializer_list>
#include <span>

#include "refrain/autograd/variable.hpp"
#include "refrain/core/export.hpp"

namespace refrain {

/// While one lives, operations of this thread record nothing.
class REFRAIN_API NoGrad {
 public:
  NoGrad() noexcept : before_(std::exchange(recording_, false)) {}
  ~NoGrad() { recording_ = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

  static bool is_recording() noexcept { return recording_; }

 private:
  static inline thread_local bool recording_ = true;
  bool before_;
};

namespace detail {
struct Edge;
}

struct TapeAccess {
  static detail::VariableState& state(const Variable& variable) { return variable.state(); }

  static detail::Edge edge(const Variable& input);
};

namespace detail {

/// Where the gradient of one input goes: to the operation that made it, to a leaf, or (neither set)
/// nowhere. It does not hold the input's value: what a backward function needs, it saves itself.
struct Edge {
  std::shared_ptr<Node> producer;
  int output = 0;
  std::shared_ptr<VariableState> leaf;

  /// A leaf that was frozen after the operation gets nothing either.
  bool wanted() const noexcept {
    return producer != nullptr || (leaf != nullptr && leaf->requires_grad);
  }
};

}  // namespace detail

/// Where an operation's backward function puts the gradients of its inputs.
class InputGradients {
 public:
  explicit InputGradients(std::span<const detail::Edge> inputs, bool upstream_is_one = false)
      : inputs_(inputs), upstream_is_one_(upstream_is_one) {}

  /// False when nobody needs the gradient of input `index`: then it must not be computed.
  bool wants(int index) const { return inputs_[static_cast<std::size_t>(index)].wanted(); }

  /// True when the operation is the root of the pass, so that its upstream gradient is known to be
  /// one without a look at it: on a device a look would wait.
  bool upstream_is_one() const noexcept { return upstream_is_one_; }

  void add(int index, Tensor gradient) { put(index, std::move(gradient)); }
  void add(int index, RowSparse gradient) { put(index, std::move(gradient)); }

  /// Adds to rows [begin, begin + size) of the outermost axis of input `index`, whose shape is
  /// `whole`; its other rows get nothing.
  void add_slice(int index, const Shape& whole, std::int64_t begin, const Tensor& gradient);

  /// The dense gradient of input `index`, of shape `whole` and zero at first, for a kernel that
  /// adds to it in place.
  Tensor& sum(int index, const Shape& whole, DType dtype, Device device);

 private:
  Gradient* target(int index);
  template <class Contribution>
  void put(int index, Contribution contribution);

  std::span<const detail::Edge> inputs_;
  bool upstream_is_one_;
};

namespace detail {

/// One recorded operation. Its edges keep the earlier operations alive; the saved tensors live in
/// the backward function.
class REFRAIN_API Node {
 public:
  explicit Node(const char* op, int outputs)
      : op_(op), gradients_(static_cast<std::size_t>(outputs)) {}
  virtual ~Node() { drop_inputs(); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* op() const noexcept { return op_; }

 protected:
  virtual void run(std::span<const Gradient> outputs, InputGradients& inputs) = 0;
  virtual void release() = 0;

 private:
  friend class Tape;
  friend class refrain::InputGradients;
  template <std::size_t, class>
  friend class RecordedNode;

  const char* op_;
  std::uint64_t order_ = next_order();
  std::uint64_t visited_ = 0;
  bool released_ = false;
  PooledVector<Edge> inputs_;
  PooledVector<Gradient> gradients_;
  std::shared_ptr<Node> next_;  ///< used by drop_inputs alone

  /// Lets go of the inputs. Operations that nothing else keeps alive are listed and freed in turn:
  /// left to the destructors, a history of many operations would nest as many calls.
  void drop_inputs() noexcept {
    std::shared_ptr<Node> last;
    const auto take = [&last](PooledVector<Edge>& edges) {
      for (Edge& edge : edges) {
        if (edge.producer.use_count() == 1) {
          edge.producer->next_ = std::move(last);
          last = std::move(edge.producer);
        }
        edge.producer.reset();
      }
    };
    take(inputs_);
    while (last != nullptr) {
      const std::shared_ptr<Node> node = std::move(last);
      last = std::move(node->next_);
      take(node->inputs_);
    }
  }

  static std::uint64_t next_order() noexcept {
    static std::atomic<std::uint64_t> order{0};
    return order.fetch_add(1, std::memory_order_relaxed);
  }
};

template <std::size_t Outputs, class Backward>
class RecordedNode final : public Node {
 public:
  RecordedNode(const char* op, const std::array<Shape, Outputs>& shapes,
               std::span<const Variable> inputs, Backward backward)
      : Node(op, static_cast<int>(Outputs)), shapes_(shapes), backward_(std::move(backward)) {
    inputs_.reserve(inputs.size());
    for (const Variable& input : inputs) inputs_.push_back(TapeAccess::edge(input));
  }

 protected:
  void run(std::span<const Gradient> outputs, InputGradients& inputs) override {
    if constexpr (Outputs == 1) {
      (*backward_)(outputs[0].to_dense(shapes_[0]), inputs);
    } else {
      std::array<Tensor, Outputs> dense;
      for (std::size_t i = 0; i < Outputs; ++i) {
        if (outputs[i].defined()) dense[i] = outputs[i].to_dense(shapes_[i]);
      }
      (*backward_)(dense, inputs);
    }
  }
  void release() override { backward_.reset(); }

 private:
  std::array<Shape, Outputs> shapes_;
  std::optional<Backward> backward_;
};

class REFRAIN_API Tape {
 public:
  /// `seed_is_one`: the caller made the seed of ones.
  static void backward(const Variable& root, Tensor seed, bool retain, bool seed_is_one) {
    VariableState& state = TapeAccess::state(root);
    if (!state.requires_grad) {
      throw AutogradError(
          "backward: the root does not depend on anything that requires a gradient, or recording "
          "was off");
    }
    if (state.producer == nullptr) {
      state.gradient.add(std::move(seed));
      return;
    }
    PooledVector<std::shared_ptr<Node>> nodes = collect(state.producer);
    for (const std::shared_ptr<Node>& node : nodes) {
      if (node->released_) {
        throw AutogradError(
            concat("backward: the saved tensors of '", node->op_,
                   "' were freed by an earlier backward pass; pass {.retain = true} to that one"));
      }
    }
    state.producer->gradients_[static_cast<std::size_t>(state.output)].add(std::move(seed));
    try {
      for (std::shared_ptr<Node>& node : nodes) {
        run(*node, retain, seed_is_one && node == state.producer);
        if (!retain) node.reset();
      }
    } catch (...) {
      for (const std::shared_ptr<Node>& node : nodes) {
        if (node != nullptr) clear_gradients(*node);
      }
      throw;
    }
  }

 private:
  /// Every operation that the root depends on, latest first.
  static PooledVector<std::shared_ptr<Node>> collect(const std::shared_ptr<Node>& root) {
    static std::atomic<std::uint64_t> passes{0};
    const std::uint64_t pass = passes.fetch_add(1, std::memory_order_relaxed) + 1;
    PooledVector<std::shared_ptr<Node>> found;
    found.push_back(root);
    root->visited_ = pass;
    for (std::size_t at = 0; at < found.size(); ++at) {
      const Node& node = *found[at];
      for (const Edge& input : node.inputs_) {
        const std::shared_ptr<Node>& producer = input.producer;
        if (producer == nullptr || producer->visited_ == pass) continue;
        producer->visited_ = pass;
        found.push_back(producer);
      }
    }
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a->order_ > b->order_; });
    return found;
  }

  static void run(Node& node, bool retain, bool upstream_is_one) {
    const bool reached = std::any_of(node.gradients_.begin(), node.gradients_.end(),
                                     [](const Gradient& g) { return g.defined(); });
    if (reached) {
      InputGradients inputs(node.inputs_, upstream_is_one);
      node.run(node.gradients_, inputs);
      clear_gradients(node);
    }
    if (!retain) {
      node.release();
      node.inputs_.clear();
      node.released_ = true;
    }
  }

  static void clear_gradients(Node& node) {
    for (Gradient& gradient : node.gradients_) gradient.clear();
  }
};

}  // namespace detail

inline Gradient* InputGradients::target(int index) {
  const detail::Edge& edge = inputs_[static_cast<std::size_t>(index)];
  if (!edge.wanted()) return nullptr;
  return edge.leaf != nullptr ? &edge.leaf->gradient
                              : &edge.producer->gradients_[static_cast<std::size_t>(edge.output)];
}

template <class Contribution>
void InputGradients::put(int index, Contribution contribution) {
  Gradient* const gradient = target(index);
  if (gradient == nullptr) return;
  const detail::Edge& edge = inputs_[static_cast<std::size_t>(index)];
  if (edge.leaf != nullptr) check_gradient("a leaf", contribution, edge.leaf->value);
  gradient->add(std::move(contribution));
}

inline Tensor& InputGradients::sum(int index, const Shape& whole, DType dtype, Device device) {
  Gradient* gradient = target(index);
  if (gradient == nullptr)
    throw AutogradError(concat("InputGradients::sum: nobody wants the gradient of input ", index));
  return gradient->accumulator(whole, dtype, device);
}

inline void InputGradients::add_slice(int index, const Shape& whole, std::int64_t begin,
                                      const Tensor& gradient) {
  if (target(index) == nullptr) return;
  Tensor rows =
      sum(index, whole, gradient.dtype(), gradient.device()).slice(begin, begin + gradient.size(0));
  kernels::table(gradient.device())
      .linear_combination({.a = rows.view(), .b = gradient.view(), .out = rows.mutable_view()});
}

inline detail::Edge TapeAccess::edge(const Variable& input) {
  if (!input.requires_grad()) return {};
  const std::shared_ptr<detail::VariableState>& state = input.state_;
  if (state->producer == nullptr) return {.producer = nullptr, .output = 0, .leaf = state};
  return {.producer = state->producer, .output = state->output, .leaf = nullptr};
}

/// True when an operation on these inputs has to be recorded (and so has to save what its backward
/// function reads).
inline bool is_recorded(std::initializer_list<const Variable*> inputs) {
  if (!NoGrad::is_recording()) return false;
  for (const Variable* input : inputs) {
    if (input->requires_grad()) return true;
  }
  return false;
}

/// Makes the result of an operation and, when is_recorded(inputs), puts it on the tape.
///
/// `backward(const Tensor& dy, InputGradients& in)` adds the gradients of those inputs that `in.wants(i)`; i counts `inputs` in
/// order. It owns the tensors it needs (capture by value); they are freed once it has run.
/// Undefined inputs are allowed.
template <class Backward>
Variable record(const char* op, Tensor value, std::span<const Variable> inputs, Backward backward) {
  Variable out(std::move(value));
  bool wanted = false;
  for (const Variable& input : inputs) wanted = wanted || input.requires_grad();
  if (!wanted || !NoGrad::is_recording()) return out;
  using Recorded = detail::RecordedNode<1, Backward>;
  detail::VariableState& state = TapeAccess::state(out);
  state.producer = std::allocate_shared<Recorded>(PoolAllocator<Recorded>(), op,
                                                  std::array<Shape, 1>{out.shape()}, inputs,
                                                  std::move(backward));
  state.requires_grad = true;
  return out;
}
template <class Backward>
Variable record(const char* op, Tensor value, std::initializer_list<Variable> inputs,
                Backward backward) {
  return record(op, std::move(value), std::span<const Variable>(inputs.begin(), inputs.size()),
                std::move(backward));
}

/// record() for an operation of several results: `backward(std::array<Tensor, N>& dy,
/// InputGradients& in)`, where dy[i] is undefined when nothing depends on result i.
template <std::size_t N, class Backward>
std::array<Variable, N> record(const char* op, std::array<Tensor, N> values,
                               std::initializer_list<Variable> inputs, Backward backward) {
  std::array<Variable, N> out;
  std::array<Shape, N> shapes;
  for (std::size_t i = 0; i < N; ++i) {
    shapes[i] = values[i].shape();
    out[i] = Variable(std::move(values[i]));
  }
  bool wanted = false;
  for (const Variable& input : inputs) wanted = wanted || input.requires_grad();
  if (!wanted || !NoGrad::is_recording()) return out;
  using Recorded = detail::RecordedNode<N, Backward>;
  const std::shared_ptr<detail::Node> node = std::allocate_shared<Recorded>(
      PoolAllocator<Recorded>(), op, shapes,
      std::span<const Variable>(inputs.begin(), inputs.size()), std::move(backward));
  for (std::size_t i = 0; i < N; ++i) {
    detail::VariableState& state = TapeAccess::state(out[i]);
    state.producer = node;
    state.output = static_cast<int>(i);
    state.requires_grad = true;
  }
  return out;
}

struct BackwardOptions {
  bool retain =
      false;  ///< keep the saved tensors, so that backward can run again over the same operations
};

/// Adds d root / d leaf to the gradient of every leaf that requires one.
/// Operations run in reverse order of recording; each one's saved tensors are freed as it has run,
/// unless `retain`. Throws AutogradError when the root is no scalar, depends on no such leaf, or
/// its history was already consumed.
inline void backward(const Variable& root, BackwardOptions options = {}) {
  if (root.value().numel() != 1) {
    throw AutogradError(concat("backward: expected a root of one element, got ", root.shape(),
                               "; reduce it first or give an upstream gradient"));
  }
  detail::Tape::backward(root, Tensor::full(root.shape(), 1.0, root.dtype(), root.device()),
                         options.retain, true);
}

/// backward() with the upstream gradient d loss / d root, which is copied. Throws ShapeError,
/// DTypeError or DeviceError unless it matches the root.
inline void backward(const Variable& root, const Tensor& upstream, BackwardOptions options = {}) {
  if (!upstream.defined()) throw ShapeError("backward: the upstream gradient is undefined");
  if (upstream.shape() != root.shape()) {
    throw ShapeError(concat("backward: expected an upstream gradient of ", root.shape(), ", got ",
                            upstream.shape()));
  }
  if (upstream.dtype() != root.dtype()) {
    throw DTypeError(concat("backward: expected an upstream gradient of ", root.dtype(), ", got ",
                            upstream.dtype()));
  }
  if (upstream.device() != root.device()) {
    throw DeviceError(concat("backward: expected an upstream gradient on ", root.device(),
                             ", got one on ", upstream.device()));
  }
  detail::Tape::backward(root, upstream.clone(), options.retain, false);
}

}  // namespace refrain
