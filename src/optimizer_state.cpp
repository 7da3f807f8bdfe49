#include "refrain/train/optimizer.hpp"

namespace refrain {

TensorMap Optimizer::state() const {
  TensorMap state;
  for (const Slot& slot : slots_) {
    if (slot.updates == 0 || slot.parameter.is_frozen()) continue;
    state[detail::concat(kind_, ".updates.", slot.name)] =
        Tensor::from<std::int64_t>({}, {slot.updates});
    for (std::size_t i = 0; i < moment_names_.size(); ++i) {
      state[detail::concat(kind_, ".", moment_names_[i], ".", slot.name)] = slot.moments[i];
    }
  }
  return state;
}

void Optimizer::load_state(const TensorMap& state) {
  struct Loaded {
    std::int64_t updates = 0;
    std::vector<Tensor> moments;
  };
  std::vector<Loaded> loaded(slots_.size());
  std::size_t used = 0;
  const auto find = [&](const std::string& name, const Shape& shape, DType dtype) -> const Tensor& {
    const auto found = state.find(name);
    if (found == state.end())
      throw OptionError(detail::concat("load_state: '", name, "' is missing"));
    const Tensor& tensor = found->second;
    if (tensor.shape() != shape) {
      throw ShapeError(
          detail::concat("load_state: '", name, "': expected ", shape, ", got ", tensor.shape()));
    }
    if (tensor.dtype() != dtype) {
      throw DTypeError(
          detail::concat("load_state: '", name, "': expected ", dtype, ", got ", tensor.dtype()));
    }
    ++used;
    return tensor;
  };
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const std::string updates = detail::concat(kind_, ".updates.", slot.name);
    if (slot.parameter.is_frozen() || state.find(updates) == state.end()) continue;
    loaded[i].updates = *find(updates, {}, DType::i64).data<std::int64_t>();
    if (loaded[i].updates < 1)
      throw OptionError(detail::concat("load_state: '", updates, "': expected a count >= 1, got ",
                                       loaded[i].updates));
    for (const std::string& moment : moment_names_) {
      const Tensor& from = find(detail::concat(kind_, ".", moment, ".", slot.name),
                                slot.parameter.shape(), slot.parameter.dtype());
      const Device device = slot.parameter.device();
      loaded[i].moments.push_back(from.device() == device ? from.clone() : from.to(device));
    }
  }
  if (used != state.size()) {
    throw OptionError(
        detail::concat("load_state: expected entries of trainable parameters of this ", kind_,
                       " optimizer, got ", used, " of them in ", state.size(),
                       " entries, of which '", state.begin()->first, "' is the first"));
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].updates = loaded[i].updates;
    slots_[i].moments = std::move(loaded[i].moments);
  }
}

}  // namespace refrain
