#include "refrain/autograd/tape.hpp"

#include <algorithm>
#include <atomic>

namespace refrain {
namespace detail {

Edge TapeAccess::edge(const Variable& input) {
  Edge edge;
  if (!input.defined()) return edge;
  edge.shape = input.shape();
  edge.dtype = input.dtype();
  edge.device = input.device();
  if (!input.requires_grad()) return edge;
  edge.producer = input.state_->producer;
  edge.output = input.state_->output;
  if (edge.producer == nullptr) edge.leaf = input.state_;
  return edge;
}

Node::Node(const char* op, std::size_t outputs, std::span<const Variable> inputs)
    : op_(op), gradients_(outputs) {
  inputs_.reserve(inputs.size());
  for (const Variable& input : inputs) inputs_.push_back(TapeAccess::edge(input));
}

void Node::drop_inputs() noexcept {
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

std::uint64_t Node::next_order() noexcept {
  static std::atomic<std::uint64_t> order{0};
  return order.fetch_add(1, std::memory_order_relaxed);
}

void Tape::backward(const Variable& root, Tensor seed, bool retain, bool seed_is_one) {
  VariableState& state = TapeAccess::state(root);
  if (!state.requires_grad) {
    throw AutogradError(
        "backward: expected a root that depends on a leaf that requires a gradient, computed "
        "with recording on");
  }
  if (state.producer == nullptr) {
    state.gradient.add(std::move(seed));
    return;
  }
  PooledVector<std::shared_ptr<Node>> nodes = collect(state.producer);
  for (const std::shared_ptr<Node>& node : nodes) {
    if (node->released_) {
      throw AutogradError(detail::concat(
          "backward: the saved tensors of '", node->op_,
          "' were freed by an earlier backward pass; pass {.retain = true} to the earlier one"));
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

/// Every operation that the root depends on, in reverse order of recording.
PooledVector<std::shared_ptr<Node>> Tape::collect(const std::shared_ptr<Node>& root) {
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

void Tape::run(Node& node, bool retain, bool seed_is_one) {
  const bool reached = std::any_of(node.gradients_.begin(), node.gradients_.end(),
                                   [](const Gradient& g) { return g.defined(); });
  const bool wanted = std::any_of(node.inputs_.begin(), node.inputs_.end(),
                                  [](const Edge& input) { return input.needed(); });
  if (reached && wanted) {
    PooledVector<UpstreamGradient> upstream(node.gradients_.size());
    for (std::size_t i = 0; i < upstream.size(); ++i) {
      const Gradient& gradient = node.gradients_[i];
      if (gradient.defined()) upstream[i] = {gradient.to_dense(node.shape(i)), seed_is_one};
    }
    node.run(upstream.data());
  }
  clear_gradients(node);
  if (!retain) {
    node.release();
    node.inputs_.clear();
    node.released_ = true;
  }
}

void Tape::clear_gradients(Node& node) {
  for (Gradient& gradient : node.gradients_) gradient.clear();
}

bool is_any_recorded(std::span<const Variable> inputs) {
  if (!NoGrad::is_recording()) return false;
  for (const Variable& input : inputs) {
    if (input.requires_grad()) return true;
  }
  return false;
}

void set_producer(std::span<Variable> results, Node* operation) {
  // All operations share one handle type: each type of operation would otherwise instantiate its
  // own control block.
  const std::shared_ptr<Node> node(operation, std::default_delete<Node>(), PoolAllocator<Node>());
  for (std::size_t i = 0; i < results.size(); ++i) {
    VariableState& state = TapeAccess::state(results[i]);
    state.producer = node;
    state.output = static_cast<int>(i);
    state.requires_grad = true;
  }
}

}  // namespace detail

void backward(const Variable& root, BackwardOptions options) {
  if (root.value().numel() != 1) {
    throw AutogradError(detail::concat("backward: expected a root of one element, got ",
                                       root.shape(),
                                       "; reduce it first or give an upstream gradient"));
  }
  detail::Tape::backward(root, Tensor::full(root.shape(), 1.0, root.dtype(), root.device()),
                         options.retain, true);
}

void backward(const Variable& root, const Tensor& upstream, BackwardOptions options) {
  if (!upstream.defined()) throw ShapeError("backward: the upstream gradient is undefined");
  if (upstream.shape() != root.shape()) {
    throw ShapeError(detail::concat("backward: expected an upstream gradient of ", root.shape(),
                                    ", got ", upstream.shape()));
  }
  if (upstream.dtype() != root.dtype()) {
    throw DTypeError(detail::concat("backward: expected an upstream gradient of ", root.dtype(),
                                    ", got ", upstream.dtype()));
  }
  if (upstream.device() != root.device()) {
    throw DeviceError(detail::concat("backward: expected an upstream gradient on ", root.device(),
                                     ", got one on ", upstream.device()));
  }
  detail::Tape::backward(root, upstream.clone(), options.retain, false);
}

}  // namespace refrain
