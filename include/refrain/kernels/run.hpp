#pragma once
/// Runs a kernel on the device of its arguments.

#include "refrain/core/stream.hpp"
#include "refrain/kernels/table.hpp"

namespace refrain::kernels {

namespace detail {

/// Scratch memory from the device's pool.
class PoolScratch final : public ScratchMemory {
 public:
  explicit PoolScratch(Device device) noexcept : device_(device) {}
  PoolScratch(const PoolScratch&) = delete;
  PoolScratch& operator=(const PoolScratch&) = delete;
  ~PoolScratch() {
    if (block_ != nullptr) pool_release(block_, bytes_, device_);
  }
  void* allocate(std::size_t bytes) override {
    bytes_ = bytes;
    return block_ = pool_allocate(bytes, device_);
  }

 private:
  Device device_;
  void* block_ = nullptr;
  std::size_t bytes_ = 0;
};

[[noreturn]] REFRAIN_API void throw_absent(const char* name, Device device, const char* reason);

}  // namespace detail

/// True when the device has a kernel for the contract.
template <class Args>
bool has_kernel(Device device) {
  return static_cast<bool>(table(device).template entry<Args>());
}

/// Runs an entry on the device of the views, with scratch memory from that device's pool. Throws
/// Unsupported when the kernel is absent, and the exceptions of the kernel.
template <class Args>
void run(const Entry<Args>& entry, const Args& args) {
  const Device device = args.device();
  if (!entry) detail::throw_absent(Args::name, device, entry.absent);
  const ProfileRange range(device, Args::name);
  detail::PoolScratch scratch(device);
  entry.run(args, scratch);
}

/// Runs the kernel of a contract on the device of its views:
///
///   kernels::run(kernels::Multiply{.a = a, .b = b, .out = out});
///
/// On a GPU the kernel is queued in the current stream. Throws Unsupported when the device has no
/// kernel for the contract or this build has no backend for the device, and the exceptions of the
/// kernel.
template <class Args>
void run(const Args& args) {
  run(table(args.device()).template entry<Args>(), args);
}

}  // namespace refrain::kernels
