#pragma once
/// Transfer of batches to a device.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "refrain/core/stream.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Transfers batches to a device while it computes with earlier ones.
///
///   feed.push(make(0));
///   for (step = 0; ...; ++step) {
///     const Batch batch = feed.pop();   // on the device
///     queue_step(batch);
///     // The host makes and sends the next batch while the device works on this one.
///     feed.push(make(step + 1));
///   }
///
/// `Batch` is a copyable struct of host tensors with `visit(function)`, which calls
/// function(tensor) for each tensor; undefined tensors stay undefined. A popped batch is valid
/// until the second pop() after it; its tensors keep their addresses while shapes repeat. On the
/// CPU batches are passed through.
template <class Batch>
class BatchFeed {
 public:
  /// A feed that passes batches through on the CPU.
  explicit BatchFeed(Device device) : BatchFeed(device, device != Device::cpu) {}
  /// `staged`: copies batches, also on the CPU.
  BatchFeed(Device device, bool staged)
      : device_(device), staged_(staged), slots_{Slot(device), Slot(device)}, stream_(device) {}

  /// True when no pushed batch waits for pop().
  bool is_empty() const noexcept { return popped_ == pushed_; }

  /// Starts the transfer of a batch. Throws Error when the previous batch was not popped.
  void push(Batch batch) {
    if (!is_empty()) throw Error("BatchFeed::push: expected pop() of the previous batch first");
    Slot& slot = slot_of(pushed_);
    if (staged_) {
      send(slot, batch);
    } else {
      slot.batch = std::move(batch);
    }
    ++pushed_;
  }

  /// The pushed batch, on the device: work queued after this call reads its elements. Throws Error
  /// when no batch was pushed.
  Batch pop() {
    if (is_empty()) throw Error("BatchFeed::pop: expected a pushed batch, got none");
    if (popped_ > 0) slot_of(popped_ - 1).used.record();
    Slot& slot = slot_of(popped_);
    slot.sent.delay();
    ++popped_;
    return staged_ ? slot.batch : std::move(slot.batch);
  }

 private:
  static constexpr std::size_t alignment = 64;

  struct Slot {
    explicit Slot(Device device) : sent(device), used(device) {}

    Batch batch{};        ///< tensors on the device
    PinnedBuffer host{};  ///< their elements, in transfer
    Event sent;           ///< recorded after the copies out of `host`
    Event used;           ///< recorded after the work with the batch
  };

  Slot& slot_of(std::int64_t number) noexcept {
    return slots_[static_cast<std::size_t>(number % 2)];
  }

  void send(Slot& slot, Batch& batch) {
    std::size_t bytes = 0;
    batch.visit([&](Tensor& tensor) { bytes += padded(tensor.bytes()); });
    slot.sent.synchronize();  // the device may still read the previous contents of the slot
    if (slot.host.bytes() < bytes) slot.host = PinnedBuffer(bytes, device_);

    std::vector<Tensor*> targets = tensors_of(slot.batch);
    if (targets.size() != tensors_of(batch).size()) {
      slot.batch = batch;  // for its number of tensors
      targets = tensors_of(slot.batch);
      for (Tensor* target : targets) *target = Tensor();
    }
    std::size_t at = 0;
    bool is_new = false;
    batch.visit([&](Tensor& tensor) {
      Tensor& target = *targets[at++];
      if (target.defined() == tensor.defined() && target.shape() == tensor.shape() &&
          target.dtype() == tensor.dtype())
        return;
      target = tensor.defined() ? Tensor(tensor.shape(), tensor.dtype(), device_) : Tensor();
      is_new = true;
    });
    if (is_new) slot.used.record();  // the stream's earlier work may still use this memory
    slot.used.delay(stream_.get());

    at = 0;
    std::size_t offset = 0;
    batch.visit([&](Tensor& tensor) {
      Tensor& target = *targets[at++];
      if (tensor.bytes() == 0) return;
      std::memcpy(static_cast<char*>(slot.host.data()) + offset, tensor.raw(), tensor.bytes());
      slot.host.send(target.raw(), offset, tensor.bytes(), stream_.get());
      offset += padded(tensor.bytes());
    });
    slot.sent.record(stream_.get());
  }

  static std::vector<Tensor*> tensors_of(Batch& batch) {
    std::vector<Tensor*> tensors;
    batch.visit([&](Tensor& tensor) { tensors.push_back(&tensor); });
    return tensors;
  }

  static constexpr std::size_t padded(std::size_t bytes) noexcept {
    return (bytes + alignment - 1) / alignment * alignment;
  }

  Device device_;
  bool staged_;
  std::int64_t pushed_ = 0;
  std::int64_t popped_ = 0;
  std::array<Slot, 2> slots_;
  OwnedStream stream_;  ///< stream of the copies; destroyed first, which waits for them
};

}  // namespace refrain
