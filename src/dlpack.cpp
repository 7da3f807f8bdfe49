#include "refrain/core/dlpack.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "refrain/core/stream.hpp"

namespace refrain {
namespace {

// ---- export ----

dlpack::ElementType element_type(DType dtype) {
  return {.code = is_floating(dtype) ? dlpack::TypeCode::floating : dlpack::TypeCode::integer,
          .bits = static_cast<std::uint8_t>(8 * size_bytes(dtype)),
          .lanes = 1};
}

/// The DLPack structure and the memory that it points to.
template <class Managed>
struct Lent {
  Tensor tensor;
  std::array<std::int64_t, Shape::max_rank> shape;
  std::array<std::int64_t, Shape::max_rank> strides;
  Managed managed;
};

template <class Managed>
std::unique_ptr<Managed, dlpack::Deleter> lend(const Tensor& tensor, Stream consumer) {
  if (!tensor.defined()) throw ShapeError("to_dlpack: the tensor is undefined");
  if (tensor.device() != Device::cpu && consumer.handle != nullptr) {
    Event written(tensor.device());
    written.record();
    written.delay(consumer);
  }
  auto lent = std::make_unique<Lent<Managed>>();
  lent->tensor = tensor;
  const int rank = tensor.rank();
  const std::span<const std::int64_t> extents = tensor.shape().extents();
  std::copy(extents.begin(), extents.end(), lent->shape.begin());
  std::int64_t stride = 1;
  for (std::size_t axis = extents.size(); axis-- > 0;
       stride *= std::max<std::int64_t>(1, extents[axis])) {
    lent->strides[axis] = stride;
  }
  lent->managed.dl_tensor = {.data = tensor.numel() == 0 ? nullptr : lent->tensor.raw(),
                             .device = {tensor.device() == Device::cpu ? dlpack::DeviceType::cpu
                                                                       : dlpack::DeviceType::cuda,
                                        0},
                             .ndim = rank,
                             .dtype = element_type(tensor.dtype()),
                             .shape = lent->shape.data(),
                             .strides = lent->strides.data(),
                             .byte_offset = 0};
  lent->managed.manager_ctx = lent.get();
  lent->managed.deleter = [](Managed* self) {
    delete static_cast<Lent<Managed>*>(self->manager_ctx);
  };
  return std::unique_ptr<Managed, dlpack::Deleter>(&lent.release()->managed);
}

// ---- import ----

Device device_of(const dlpack::DeviceId& id) {
  switch (id.device_type) {
    case dlpack::DeviceType::cpu:
    case dlpack::DeviceType::cuda_host:
      return Device::cpu;
    case dlpack::DeviceType::cuda:
      if (id.device_id != 0) {
        throw Unsupported(detail::concat(
            "from_dlpack: expected GPU 0, the one that Refrain uses, got GPU ", id.device_id));
      }
      if (!is_available(Device::cuda)) {
        throw Unsupported(
            "from_dlpack: the elements are on a GPU, and Device::cuda is not available to this "
            "build or machine");
      }
      return Device::cuda;
  }
  throw Unsupported(detail::concat(
      "from_dlpack: expected DLPack's device type 1 (CPU), 2 (CUDA) or 3 (page-locked), got ",
      static_cast<std::int32_t>(id.device_type)));
}

DType dtype_of_elements(const dlpack::ElementType& type) {
  for (const DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64}) {
    const dlpack::ElementType known = element_type(dtype);
    if (type.code == known.code && type.bits == known.bits && type.lanes == known.lanes)
      return dtype;
  }
  constexpr std::array names{"integer", "unsigned integer", "float", "handle",
                             "bfloat",  "complex",          "bool"};
  const auto code = static_cast<std::size_t>(type.code);
  throw DTypeError(detail::concat("from_dlpack: expected float or integer of 32 or 64 bits, got ",
                                  code < names.size() ? names[code] : "DLPack's type code",
                                  code < names.size() ? "" : " ",
                                  code < names.size() ? "" : std::to_string(code), " of ",
                                  static_cast<int>(type.bits), " bits, ", type.lanes, " a lane"));
}

Shape shape_of(const dlpack::TensorStruct& tensor) {
  if (tensor.ndim < 0 || tensor.ndim > Shape::max_rank) {
    throw ShapeError(detail::concat("from_dlpack: expected a rank of 0 to ", Shape::max_rank,
                                    ", got ", tensor.ndim));
  }
  if (tensor.ndim > 0 && tensor.shape == nullptr)
    throw ShapeError("from_dlpack: expected a shape, got a null pointer");
  try {
    return Shape(
        std::span<const std::int64_t>(tensor.shape, static_cast<std::size_t>(tensor.ndim)));
  } catch (const ShapeError& error) {
    throw ShapeError(detail::concat("from_dlpack: ", error.what()));
  }
}

/// Throws unless the elements are contiguous in row-major order.
void check_strides(const dlpack::TensorStruct& tensor, const Shape& shape) {
  if (tensor.strides == nullptr || shape.numel() == 0) return;
  std::int64_t expected = 1;
  for (int axis = shape.rank(); axis-- > 0; expected *= shape[axis]) {
    if (shape[axis] != 1 && tensor.strides[axis] != expected) {
      throw Unsupported(detail::concat("from_dlpack: expected contiguous elements, got ", shape,
                                       " with stride ", tensor.strides[axis], " instead of ",
                                       expected, " on axis ", axis,
                                       "; make the producer's tensor contiguous first"));
    }
  }
}

void* first_element(const dlpack::TensorStruct& tensor, std::uint64_t bytes) {
  if (tensor.data == nullptr)
    throw ShapeError(
        detail::concat("from_dlpack: ", bytes, " bytes of elements behind a null pointer"));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  constexpr std::uintptr_t end = std::numeric_limits<std::uintptr_t>::max();
  if (tensor.byte_offset > end - address || bytes > end - address - tensor.byte_offset) {
    throw ShapeError(detail::concat("from_dlpack: a byte_offset of ", tensor.byte_offset,
                                    " leaves the address space"));
  }
  return static_cast<char*>(tensor.data) + tensor.byte_offset;
}

template <class Managed>
void call_deleter(void* owner) {
  dlpack::Deleter()(static_cast<Managed*>(owner));
}

/// Queued work on this memory must have ended: the producer may reuse the memory at once.
template <class Managed>
void call_deleter_after_work(void* owner) {
  try {
    synchronize(Device::cuda);
  } catch (const Error&) {
    // The device failed, or this thread captures a graph, whose inputs the caller keeps alive. A
    // deleter cannot throw.
  }
  call_deleter<Managed>(owner);
}

template <class Managed>
Tensor take(std::unique_ptr<Managed, dlpack::Deleter> managed, bool read_only,
            const DlpackImport& options) {
  const dlpack::TensorStruct& tensor = managed->dl_tensor;
  const Device device = device_of(tensor.device);
  const DType dtype = dtype_of_elements(tensor.dtype);
  const Shape shape = shape_of(tensor);
  check_strides(tensor, shape);
  if (shape.numel() == 0) return Tensor(shape, dtype, device);
  if (read_only && !options.copy) {
    throw Unsupported(
        "from_dlpack: the elements are read-only, and a Tensor can be written; ask for a copy "
        "(DlpackImport::copy)");
  }
  if (shape.numel() >
      std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(size_bytes(dtype))) {
    throw ShapeError(
        detail::concat("from_dlpack: ", shape, " of ", dtype, " is too large to address"));
  }
  void* data = first_element(tensor, static_cast<std::uint64_t>(shape.numel()) * size_bytes(dtype));
  if (reinterpret_cast<std::uintptr_t>(data) % size_bytes(dtype) != 0) {
    throw Unsupported(detail::concat("from_dlpack: expected elements of ", dtype,
                                     " aligned to their size, got address ", data));
  }
  const bool on_cpu = device == Device::cpu;
  if (!on_cpu && options.producer.handle != nullptr) {
    Event written(device);
    written.record(options.producer);
    written.delay();
  }
  const Tensor lent(shape, dtype, device,
                    {.data = data,
                     .owner = managed.get(),
                     .release = on_cpu ? call_deleter<Managed> : call_deleter_after_work<Managed>});
  managed.release();  // the tensor's storage owns it
  return options.copy ? lent.clone() : lent;
}

template <class Handle>
void check_given(const Handle& tensor) {
  if (tensor == nullptr) throw ShapeError("from_dlpack: expected a tensor, got a null handle");
}

}  // namespace

DlpackTensor to_dlpack(const Tensor& tensor, const DlpackExport& options) {
  DlpackTensor out = lend<dlpack::ManagedTensorVersioned>(tensor, options.consumer);
  if (options.read_only) out->flags |= dlpack::read_only_flag;
  return out;
}

UnversionedDlpackTensor to_unversioned_dlpack(const Tensor& tensor, const DlpackExport& options) {
  if (options.read_only)
    throw Unsupported("to_unversioned_dlpack: the unversioned structure has no read-only flag");
  return lend<dlpack::ManagedTensor>(tensor, options.consumer);
}

Tensor from_dlpack(DlpackTensor tensor, const DlpackImport& options) {
  check_given(tensor);
  if (tensor->version.major != dlpack::major_version) {
    throw Unsupported(detail::concat("from_dlpack: expected DLPack ", dlpack::major_version,
                                     ".x, got ", tensor->version.major, ".",
                                     tensor->version.minor));
  }
  const bool read_only = (tensor->flags & dlpack::read_only_flag) != 0;
  return take(std::move(tensor), read_only, options);
}

Tensor from_dlpack(UnversionedDlpackTensor tensor, const DlpackImport& options) {
  check_given(tensor);
  return take(std::move(tensor), false, options);
}

std::int64_t dlpack_stream(Device device) {
  if (device == Device::cpu)
    throw Unsupported("dlpack_stream: the CPU has no streams; pass None to the producer");
  return static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(current_stream(device).handle));
}

Stream stream_from_dlpack(std::int64_t number) {
  if (number == 0 || number < -1) {
    throw OptionError(detail::concat(
        "stream_from_dlpack: expected -1, 1, 2 or a stream's address, got ", number));
  }
  return {number == -1 ? nullptr : reinterpret_cast<void*>(static_cast<std::intptr_t>(number))};
}

}  // namespace refrain
