#pragma once
/// Tensors from and to other libraries without copying: DLPack, the C structure that PyTorch,
/// NumPy, JAX and CuPy exchange.
///
/// In Python the structure travels in a capsule: "dltensor_versioned" holds a
/// dlpack::ManagedTensorVersioned*, the older "dltensor" a dlpack::ManagedTensor*. A binding puts
/// what to_dlpack() gives, released, into a capsule, and hands what it takes out of one to
/// from_dlpack() after it has renamed the capsule ("used_dltensor_versioned"): docs/interop.md.
///
/// Streams. On Device::cuda the consumer names the stream in which it will use the elements, and
/// the producer orders its own work before that; nobody waits. As a consumer, pass dlpack_stream()
/// to the producer's `__dlpack__(stream=...)`. As a producer, give the stream that came with the
/// call as DlpackExport::consumer.

#include <cstdint>
#include <memory>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"

/// The structures of DLPack 1.x as its specification lays them out; names of members are the
/// specification's.
namespace refrain::dlpack {

inline constexpr std::uint32_t major_version = 1;
inline constexpr std::uint32_t minor_version = 1;

/// Structures of one major version agree up to and including `deleter`, those of another may agree
/// in nothing more.
struct Version {
  std::uint32_t major = major_version;
  std::uint32_t minor = minor_version;
};

/// The kinds of memory that Refrain knows; the specification has more.
enum class DeviceType : std::int32_t {
  cpu = 1,
  cuda = 2,
  cuda_host = 3,  ///< page-locked host memory
};

struct DeviceId {
  DeviceType device_type = DeviceType::cpu;
  std::int32_t device_id = 0;
};

/// The kinds of numbers that Refrain knows; the specification has more.
enum class TypeCode : std::uint8_t { integer = 0, floating = 2 };

struct ElementType {
  TypeCode code = TypeCode::floating;
  std::uint8_t bits = 32;
  std::uint16_t lanes = 1;  ///< elements of a vector type
};

struct TensorStruct {
  void* data = nullptr;
  DeviceId device;
  std::int32_t ndim = 0;
  ElementType dtype;
  std::int64_t* shape = nullptr;    ///< [ndim]
  std::int64_t* strides = nullptr;  ///< [ndim], in elements; null: row-major without gaps
  std::uint64_t byte_offset = 0;    ///< of the first element from `data`
};

/// What versions before 1.0 exchange.
struct ManagedTensor {
  TensorStruct dl_tensor;
  void* manager_ctx = nullptr;
  void (*deleter)(ManagedTensor* self) = nullptr;  ///< null: nothing is to be released
};

/// Bits of ManagedTensorVersioned::flags.
inline constexpr std::uint64_t read_only_flag = 1;
inline constexpr std::uint64_t copied_flag =
    2;  ///< the producer made the elements for this exchange

struct ManagedTensorVersioned {
  Version version;
  void* manager_ctx = nullptr;
  void (*deleter)(ManagedTensorVersioned* self) = nullptr;  ///< null: nothing is to be released
  std::uint64_t flags = 0;
  TensorStruct dl_tensor;
};

/// Gives a structure back to its producer.
struct GiveBack {
  template <class Managed>
  void operator()(Managed* managed) const {
    if (managed->deleter != nullptr) managed->deleter(managed);
  }
};

}  // namespace refrain::dlpack

namespace refrain {

/// A tensor on its way from a producer to a consumer; the deleter runs when the handle goes unless
/// release() took it.
using DlpackTensor = std::unique_ptr<dlpack::ManagedTensorVersioned, dlpack::GiveBack>;
using UnversionedDlpackTensor = std::unique_ptr<dlpack::ManagedTensor, dlpack::GiveBack>;

struct DlpackExport {
  bool read_only = false;  ///< asks the consumer not to write; the flag is a request, not a lock
  Stream consumer =
      {};  ///< will use the elements; null: the consumer works in the current stream, or
           ///< synchronizes itself
};

/// Lends a tensor's elements (f32, f64, i32, i64; CPU and CUDA), which live until both sides have
/// let go: writing on one side is seen on the other. Strides are written out. On Device::cuda the
/// consumer's work must have finished, or be ordered before later work of the stream that the
/// tensor was allocated in, when it calls the deleter.
/// Throws ShapeError for an undefined tensor.
REFRAIN_API DlpackTensor to_dlpack(const Tensor& tensor, const DlpackExport& options = {});

/// The same for consumers of versions before 1.0, which have no read-only flag: throws Unsupported
/// when that is asked for.
REFRAIN_API UnversionedDlpackTensor to_unversioned_dlpack(const Tensor& tensor,
                                                          const DlpackExport& options = {});

struct DlpackImport {
  bool copy =
      false;  ///< copies the elements and gives the structure back at once, so that read-only ones
              ///< can be taken
  Stream producer =
      {};  ///< has queued the work that writes the elements; null: they are ready for the current
           ///< stream
};

/// A Tensor on a producer's elements. It keeps them alive: the deleter runs once, when the last
/// handle on them is gone (on Device::cuda after the work of the then current stream), at once for
/// a copy or zero elements, and also when this throws.
///
/// Devices: CPU memory, page-locked or not, and the GPU that Refrain uses (device_id 0).
/// Throws Unsupported for another major version, device or memory layout (rows must follow one
/// another without gaps; strides of axes of extent 1 do not matter), misaligned elements, read-only
/// ones without `copy`, and a GPU that is not available; DTypeError for types other than f32, f64,
/// i32 and i64; ShapeError for a rank outside 0..6, a negative extent, more elements or bytes than
/// can be addressed, and elements at address null.
REFRAIN_API Tensor from_dlpack(DlpackTensor tensor, const DlpackImport& options = {});
REFRAIN_API Tensor from_dlpack(UnversionedDlpackTensor tensor, const DlpackImport& options = {});

/// What to pass as `stream` to a producer's `__dlpack__`: the current stream as a number. Throws
/// Unsupported on the CPU, which has none (pass None), and when there is no such device.
REFRAIN_API std::int64_t dlpack_stream(Device device);

/// The stream that a consumer names by number in `__dlpack__(stream=...)`: 1 the legacy default
/// stream (None means it, too), 2 the thread's default stream, otherwise an address. -1 asks for no
/// ordering: it is a null Stream, and to be given as none. Throws OptionError for 0, which the
/// protocol leaves ambiguous, and for numbers below -1.
REFRAIN_API Stream stream_from_dlpack(std::int64_t number);

}  // namespace refrain
