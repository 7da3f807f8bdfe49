#pragma once
/// Zero-copy exchange of tensors with other libraries through DLPack, the C structure that PyTorch,
/// NumPy, JAX and CuPy share.
///
/// In Python the structure is wrapped in a capsule: "dltensor_versioned" holds a
/// dlpack::ManagedTensorVersioned*, the older "dltensor" a dlpack::ManagedTensor*. To export, a
/// binding puts the released result of to_dlpack() into a capsule. To import, it takes the pointer
/// out of a capsule, renames the capsule ("used_dltensor_versioned") and calls from_dlpack():
/// docs/interop.md.
///
/// Streams. On Device::cuda the consumer names the stream in which it uses the elements, and the
/// producer orders its work before that; neither waits. A consumer passes dlpack_stream() to the
/// producer's `__dlpack__(stream=...)`. A producer passes the stream of that call as
/// DlpackExport::consumer.

#include <cstdint>
#include <memory>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"

/// The structures of DLPack 1.x with the layout and member names of its specification.
namespace refrain::dlpack {

inline constexpr std::uint32_t major_version = 1;
inline constexpr std::uint32_t minor_version = 1;

/// Structures of one major version have the same layout; structures of different major versions
/// share only the members up to and including `deleter`.
struct Version {
  std::uint32_t major = major_version;
  std::uint32_t minor = minor_version;
};

/// The memory kinds that Refrain supports, a subset of the specification.
enum class DeviceType : std::int32_t {
  cpu = 1,
  cuda = 2,
  cuda_host = 3,  ///< page-locked host memory
};

/// DLDevice.
struct DeviceId {
  DeviceType device_type = DeviceType::cpu;
  std::int32_t device_id = 0;
};

/// The number kinds that Refrain supports, a subset of the specification.
enum class TypeCode : std::uint8_t { integer = 0, floating = 2 };

/// DLDataType.
struct ElementType {
  TypeCode code = TypeCode::floating;
  std::uint8_t bits = 32;
  std::uint16_t lanes = 1;  ///< elements of a vector type
};

/// DLTensor.
struct TensorStruct {
  void* data = nullptr;
  DeviceId device;
  std::int32_t ndim = 0;
  ElementType dtype;
  std::int64_t* shape = nullptr;    ///< [ndim]
  std::int64_t* strides = nullptr;  ///< [ndim], in elements; null: row-major without gaps
  std::uint64_t byte_offset = 0;    ///< from `data` to the first element
};

/// The structure that versions before 1.0 exchange.
struct ManagedTensor {
  TensorStruct dl_tensor;
  void* manager_ctx = nullptr;
  void (*deleter)(ManagedTensor* self) = nullptr;  ///< null: nothing to release
};

/// Bits of ManagedTensorVersioned::flags.
inline constexpr std::uint64_t read_only_flag = 1;
/// the producer copied the elements for this exchange
inline constexpr std::uint64_t copied_flag = 2;

/// DLManagedTensorVersioned.
struct ManagedTensorVersioned {
  Version version;
  void* manager_ctx = nullptr;
  void (*deleter)(ManagedTensorVersioned* self) = nullptr;  ///< null: nothing to release
  std::uint64_t flags = 0;
  TensorStruct dl_tensor;
};

/// Returns a structure to its producer.
struct Deleter {
  template <class Managed>
  void operator()(Managed* managed) const {
    if (managed->deleter != nullptr) managed->deleter(managed);
  }
};

}  // namespace refrain::dlpack

namespace refrain {

/// An exchanged tensor that no consumer owns yet; its deleter runs when the handle is destroyed,
/// unless release() was called.
using DlpackTensor = std::unique_ptr<dlpack::ManagedTensorVersioned, dlpack::Deleter>;
/// A DlpackTensor with the structure of versions before 1.0.
using UnversionedDlpackTensor = std::unique_ptr<dlpack::ManagedTensor, dlpack::Deleter>;

/// Options of to_dlpack().
struct DlpackExport {
  bool read_only = false;  ///< asks the consumer not to write; the flag is a request, not a lock
  /// stream in which the consumer uses the elements; null: the consumer works in the current stream
  /// or synchronizes itself
  Stream consumer = {};
};

/// Exports a tensor (f32, f64, i32, i64; CPU and CUDA) without copying. The elements live until
/// both sides have released them, and writes by one side are visible to the other. The structure
/// contains explicit strides. On Device::cuda the consumer calls the deleter when its work has
/// finished or is ordered before later work of the stream that the tensor was allocated in. Throws
/// ShapeError for an undefined tensor.
REFRAIN_API DlpackTensor to_dlpack(const Tensor& tensor, const DlpackExport& options = {});

/// to_dlpack() for consumers of versions before 1.0, which have no read-only flag: throws
/// Unsupported for options.read_only.
REFRAIN_API UnversionedDlpackTensor to_unversioned_dlpack(const Tensor& tensor,
                                                          const DlpackExport& options = {});

/// Options of from_dlpack().
struct DlpackImport {
  /// copies the elements and releases the structure at once; accepts read-only elements
  bool copy = false;
  /// stream of the work that writes the elements; null: they are ready for the current stream
  Stream producer = {};
};

/// A Tensor on a producer's elements, which it keeps alive. The deleter runs once: when the last
/// handle on the elements is destroyed (on Device::cuda after the work of the stream that is
/// current then), or at once for a copy, zero elements or an exception.
///
/// Devices: CPU memory, page-locked or not, and the GPU that Refrain uses (device_id 0). Throws
/// Unsupported for another major version, another device, a non-contiguous layout (strides of axes
/// of extent 1 are ignored), misaligned elements, read-only elements without `copy`, and an
/// unavailable GPU; DTypeError for types other than f32, f64, i32 and i64; ShapeError for a rank
/// outside 0..6, a negative extent, more elements or bytes than can be addressed, and null
/// pointers.
REFRAIN_API Tensor from_dlpack(DlpackTensor tensor, const DlpackImport& options = {});
REFRAIN_API Tensor from_dlpack(UnversionedDlpackTensor tensor, const DlpackImport& options = {});

/// The `stream` argument for a producer's `__dlpack__`: the current stream as a number. Throws
/// Unsupported on the CPU, which has no streams (pass None), and for an unavailable device.
REFRAIN_API std::int64_t dlpack_stream(Device device);

/// The stream that a consumer names by number in `__dlpack__(stream=...)`: 1 is the legacy default
/// stream (as is None), 2 the thread's default stream, any other number an address. -1 requests no
/// ordering and gives a null Stream. Throws OptionError for 0, which the protocol leaves ambiguous,
/// and for numbers below -1.
REFRAIN_API Stream stream_from_dlpack(std::int64_t number);

}  // namespace refrain
