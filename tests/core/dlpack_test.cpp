/// Exchange of tensors with other libraries: layout of DLPack's structures, ownership, and refused
/// imports.

#include "refrain/core/dlpack.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/nn/linear.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

// The layout of the specification for 64-bit addresses.
static_assert(sizeof(dlpack::Version) == 8);
static_assert(sizeof(dlpack::ElementType) == 4 && offsetof(dlpack::ElementType, bits) == 1);
static_assert(offsetof(dlpack::ElementType, lanes) == 2);
static_assert(sizeof(dlpack::DeviceId) == 8 && offsetof(dlpack::DeviceId, device_id) == 4);
static_assert(sizeof(dlpack::TensorStruct) == 48 &&
              std::is_standard_layout_v<dlpack::TensorStruct>);
static_assert(offsetof(dlpack::TensorStruct, device) == 8 &&
              offsetof(dlpack::TensorStruct, ndim) == 16);
static_assert(offsetof(dlpack::TensorStruct, dtype) == 20 &&
              offsetof(dlpack::TensorStruct, shape) == 24);
static_assert(offsetof(dlpack::TensorStruct, strides) == 32 &&
              offsetof(dlpack::TensorStruct, byte_offset) == 40);
static_assert(sizeof(dlpack::ManagedTensor) == 64 &&
              std::is_standard_layout_v<dlpack::ManagedTensor>);
static_assert(offsetof(dlpack::ManagedTensor, manager_ctx) == 48 &&
              offsetof(dlpack::ManagedTensor, deleter) == 56);
static_assert(sizeof(dlpack::ManagedTensorVersioned) == 80 &&
              std::is_standard_layout_v<dlpack::ManagedTensorVersioned>);
static_assert(offsetof(dlpack::ManagedTensorVersioned, manager_ctx) == 8);
static_assert(offsetof(dlpack::ManagedTensorVersioned, deleter) == 16 &&
              offsetof(dlpack::ManagedTensorVersioned, flags) == 24);
static_assert(offsetof(dlpack::ManagedTensorVersioned, dl_tensor) == 32);

/// Another library's tensor, [2,3] of f32 unless a test changes it, with a count of its releases.
template <class Managed>
struct Producer {
  std::vector<double> memory = std::vector<double>(16);  // aligned for every type
  std::vector<std::int64_t> shape{2, 3};
  std::vector<std::int64_t> strides{3, 1};
  int given_back = 0;
  Managed managed;

  Producer() {
    for (int i = 0; i < 6; ++i) floats()[i] = static_cast<float>(i);
    managed.dl_tensor.data = memory.data();
    managed.dl_tensor.ndim = 2;
    managed.dl_tensor.shape = shape.data();
    managed.dl_tensor.strides = strides.data();
    managed.manager_ctx = this;
    managed.deleter = [](Managed* self) {
      ++static_cast<Producer*>(self->manager_ctx)->given_back;
    };
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  float* floats() { return reinterpret_cast<float*>(memory.data()); }
  void reshape(std::vector<std::int64_t> extents, std::vector<std::int64_t> steps) {
    shape = std::move(extents);
    strides = std::move(steps);
    managed.dl_tensor.ndim = static_cast<std::int32_t>(shape.size());
    managed.dl_tensor.shape = shape.data();
    managed.dl_tensor.strides = strides.empty() ? nullptr : strides.data();
  }
  std::unique_ptr<Managed, dlpack::Deleter> hand_over() {
    return std::unique_ptr<Managed, dlpack::Deleter>(&managed);
  }
};

using Versioned = Producer<dlpack::ManagedTensorVersioned>;
using Unversioned = Producer<dlpack::ManagedTensor>;

/// Checks that the import is refused with this error and message, and that the tensor is released.
template <class Expected, class Managed>
void check_refused(Producer<Managed>& producer, const std::string& message,
                   const DlpackImport& options = {}) {
  CHECK_THROWS_MATCHES(from_dlpack(producer.hand_over(), options), Expected,
                       message_contains(message));
  CHECK(producer.given_back == 1);
}

}  // namespace

TEMPLATE_TEST_CASE(
    "dlpack: an import shares the producer's elements until its last handle is destroyed",
    "[core][dlpack]", Versioned, Unversioned) {
  TestType producer;
  {
    Tensor tensor = from_dlpack(producer.hand_over());
    REQUIRE(tensor.shape() == Shape{2, 3});
    REQUIRE(tensor.dtype() == DType::f32);
    CHECK(tensor.device() == Device::cpu);
    CHECK(tensor.raw() == producer.memory.data());
    CHECK(tensor.data<float>()[5] == 5);
    tensor.fill(7);
    CHECK(producer.floats()[4] == 7);
    const Tensor row = tensor.slice(1, 2);
    tensor = Tensor();
    CHECK(producer.given_back == 0);
    CHECK(row.data<float>()[0] == 7);
  }
  CHECK(producer.given_back == 1);
}

TEST_CASE("dlpack: the four element types, with their own sizes", "[core][dlpack]") {
  const std::vector<std::pair<dlpack::ElementType, DType>> types{
      {{dlpack::TypeCode::floating, 32, 1}, DType::f32},
      {{dlpack::TypeCode::floating, 64, 1}, DType::f64},
      {{dlpack::TypeCode::integer, 32, 1}, DType::i32},
      {{dlpack::TypeCode::integer, 64, 1}, DType::i64}};
  for (const auto& [type, dtype] : types) {
    Versioned producer;
    producer.managed.dl_tensor.dtype = type;
    CHECK(from_dlpack(producer.hand_over()).dtype() == dtype);
    const DlpackTensor out = to_dlpack(Tensor::zeros({2}, dtype));
    CHECK(out->dl_tensor.dtype.code == type.code);
    CHECK(out->dl_tensor.dtype.bits == type.bits);
    CHECK(out->dl_tensor.dtype.lanes == 1);
  }
  Versioned half;
  half.managed.dl_tensor.dtype.bits = 16;
  check_refused<DTypeError>(half, "float of 16 bits");
  Versioned bfloat;
  bfloat.managed.dl_tensor.dtype.code = dlpack::TypeCode{4};
  check_refused<DTypeError>(bfloat, "bfloat of 32 bits");
  Versioned unknown;
  unknown.managed.dl_tensor.dtype.code = dlpack::TypeCode{77};
  check_refused<DTypeError>(unknown, "type code 77");
  Versioned pairs;
  pairs.managed.dl_tensor.dtype.lanes = 2;
  check_refused<DTypeError>(pairs, "2 a lane");
}

TEST_CASE("dlpack: byte_offset moves the first element", "[core][dlpack]") {
  Versioned producer;
  producer.reshape({2}, {1});
  producer.managed.dl_tensor.byte_offset = 3 * sizeof(float);
  CHECK(from_dlpack(producer.hand_over()).data<float>()[0] == 3);
  Versioned odd;
  odd.managed.dl_tensor.byte_offset = 2;
  check_refused<Unsupported>(odd, "aligned");
  Versioned far;
  far.managed.dl_tensor.byte_offset = std::numeric_limits<std::uint64_t>::max() - 8;
  check_refused<ShapeError>(far, "leaves the address space");
}

TEST_CASE("dlpack: contiguous rows only, axes of extent 1 may have any stride", "[core][dlpack]") {
  Versioned none;
  none.reshape({2, 3}, {});
  CHECK(from_dlpack(none.hand_over()).data<float>()[5] == 5);
  Versioned ones;
  ones.reshape({1, 2, 1, 3}, {-5, 3, 99, 1});
  CHECK(from_dlpack(ones.hand_over()).shape() == Shape{1, 2, 1, 3});
  Versioned transposed;
  transposed.reshape({3, 2}, {1, 3});
  check_refused<Unsupported>(transposed, "stride 3 instead of 1 on axis 1");
  Versioned gaps;
  gaps.reshape({2, 2}, {3, 1});
  check_refused<Unsupported>(gaps, "stride 3 instead of 2 on axis 0");
  Versioned reversed;
  reversed.reshape({6}, {-1});
  check_refused<Unsupported>(reversed, "stride -1");
  Versioned repeated;
  repeated.reshape({2, 3}, {0, 1});
  check_refused<Unsupported>(repeated, "stride 0");
}

TEST_CASE("dlpack: rank 0 and no elements", "[core][dlpack]") {
  Versioned scalar;
  scalar.managed.dl_tensor.ndim = 0;
  scalar.managed.dl_tensor.shape = nullptr;
  scalar.managed.dl_tensor.strides = nullptr;
  scalar.floats()[0] = 42;
  CHECK(from_dlpack(scalar.hand_over()).item() == 42);
  Versioned empty;
  empty.reshape({2, 0}, {17, -4});
  empty.managed.dl_tensor.data = nullptr;
  const Tensor nothing = from_dlpack(empty.hand_over());
  CHECK(nothing.defined());
  CHECK(nothing.shape() == Shape{2, 0});
  CHECK(empty.given_back == 1);
  CHECK(nothing.view());  // an undefined tensor would be an empty view
  const DlpackTensor out = to_dlpack(nothing);
  CHECK(out->dl_tensor.data == nullptr);
  CHECK(out->dl_tensor.shape[1] == 0);
}

TEST_CASE("dlpack: impossible shapes and addresses are refused", "[core][dlpack]") {
  Versioned negative;
  negative.reshape({2, -3}, {3, 1});
  check_refused<ShapeError>(negative, "got -3");
  Versioned large;
  large.reshape({std::int64_t{1} << 40, std::int64_t{1} << 40}, {});
  check_refused<ShapeError>(large, "does not fit 64 bits");
  Versioned bytes;
  bytes.reshape({std::int64_t{1} << 62}, {});
  check_refused<ShapeError>(bytes, "too large to address");
  Versioned deep;
  deep.reshape({1, 1, 1, 1, 1, 1, 1}, {});
  check_refused<ShapeError>(deep, "rank of 0 to 6, got 7");
  Versioned shallow;
  shallow.managed.dl_tensor.ndim = -1;
  check_refused<ShapeError>(shallow, "got -1");
  Versioned no_extents;
  no_extents.managed.dl_tensor.shape = nullptr;
  check_refused<ShapeError>(no_extents, "expected a shape, got a null pointer");
  Versioned no_data;
  no_data.managed.dl_tensor.data = nullptr;
  check_refused<ShapeError>(no_data, "24 bytes of elements behind a null pointer");
  CHECK_THROWS_AS(from_dlpack(DlpackTensor()), ShapeError);
  CHECK_THROWS_AS(from_dlpack(UnversionedDlpackTensor()), ShapeError);
}

TEST_CASE("dlpack: another major version is deleted unread, another minor version is accepted",
          "[core][dlpack]") {
  Versioned next;
  next.managed.version = {2, 0};
  // Another major version may store anything here.
  next.managed.dl_tensor.ndim = 1'000;
  check_refused<Unsupported>(next, "expected DLPack 1.x, got 2.0");
  Versioned before;
  before.managed.version = {0, 8};
  check_refused<Unsupported>(before, "got 0.8");
  Versioned minor;
  minor.managed.version = {1, 99};
  CHECK(from_dlpack(minor.hand_over()).numel() == 6);
}

TEST_CASE("dlpack: read-only elements are accepted only as a copy", "[core][dlpack]") {
  Versioned refused;
  refused.managed.flags = dlpack::read_only_flag | dlpack::copied_flag;
  check_refused<Unsupported>(refused, "read-only");
  Versioned copied;
  copied.managed.flags = dlpack::read_only_flag;
  Tensor tensor = from_dlpack(copied.hand_over(), {.copy = true});
  CHECK(copied.given_back == 1);
  tensor.fill(9);
  CHECK(copied.floats()[5] == 5);
  CHECK((to_dlpack(tensor, {.read_only = true})->flags & dlpack::read_only_flag) != 0);
  CHECK(to_dlpack(tensor)->flags == 0);
  CHECK_THROWS_AS(to_unversioned_dlpack(tensor, {.read_only = true}), Unsupported);
}

TEST_CASE("dlpack: page-locked memory counts as CPU memory, other devices are refused",
          "[core][dlpack]") {
  Versioned pinned;
  pinned.managed.dl_tensor.device.device_type = dlpack::DeviceType::cuda_host;
  CHECK(from_dlpack(pinned.hand_over()).device() == Device::cpu);
  Versioned metal;
  metal.managed.dl_tensor.device.device_type = dlpack::DeviceType{8};
  check_refused<Unsupported>(metal, "device type");
  Versioned second;
  second.managed.dl_tensor.device = {dlpack::DeviceType::cuda, 1};
  check_refused<Unsupported>(second, "got GPU 1");
  if (!is_available(Device::cuda)) {
    Versioned gpu;
    gpu.managed.dl_tensor.device.device_type = dlpack::DeviceType::cuda;
    check_refused<Unsupported>(gpu, "not available");
    CHECK_THROWS_AS(dlpack_stream(Device::cuda), Unsupported);
  }
  CHECK_THROWS_AS(dlpack_stream(Device::cpu), Unsupported);
}

TEST_CASE("dlpack: streams by number", "[core][dlpack]") {
  CHECK(stream_from_dlpack(-1).handle == nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(stream_from_dlpack(1).handle) == 1);
  CHECK(reinterpret_cast<std::uintptr_t>(stream_from_dlpack(0x7f00'1234'5678).handle) ==
        0x7f00'1234'5678);
  CHECK_THROWS_AS(stream_from_dlpack(0), OptionError);
  CHECK_THROWS_AS(stream_from_dlpack(-2), OptionError);
}

TEST_CASE("dlpack: an export shares the tensor's elements and keeps them", "[core][dlpack]") {
  Tensor tensor =
      Tensor::from({2, 3, 2}, {0.F, 1.F, 2.F, 3.F, 4.F, 5.F, 6.F, 7.F, 8.F, 9.F, 10.F, 11.F});
  DlpackTensor out = to_dlpack(tensor.slice(1, 2));
  CHECK(out->version.major == 1);
  CHECK(out->dl_tensor.data == tensor.data<float>() + 6);
  CHECK(out->dl_tensor.device.device_type == dlpack::DeviceType::cpu);
  CHECK(std::vector<std::int64_t>(out->dl_tensor.shape, out->dl_tensor.shape + 3) ==
        std::vector<std::int64_t>{1, 3, 2});
  CHECK(std::vector<std::int64_t>(out->dl_tensor.strides, out->dl_tensor.strides + 3) ==
        std::vector<std::int64_t>{6, 2, 1});
  static_cast<float*>(out->dl_tensor.data)[1] = 70;
  CHECK(tensor.data<float>()[7] == 70);
  CHECK_FALSE(tensor.unique());
  // The pointer that a binding passes to the other library.
  dlpack::ManagedTensorVersioned* capsule = out.release();
  tensor = Tensor();
  CHECK(static_cast<float*>(capsule->dl_tensor.data)[5] == 11);
  capsule->deleter(capsule);
  CHECK_THROWS_MATCHES(to_dlpack(Tensor()), ShapeError, message_contains("undefined"));
}

TEST_CASE("dlpack: an unused handle releases its tensor", "[core][dlpack]") {
  const Tensor tensor = Tensor::zeros({4}, DType::i32);
  { const UnversionedDlpackTensor out = to_unversioned_dlpack(tensor); }
  { const DlpackTensor out = to_dlpack(tensor); }
  CHECK(tensor.unique());
  Versioned forgotten;
  forgotten.managed.deleter = nullptr;  // allowed: nothing to release
  { const Tensor taken = from_dlpack(forgotten.hand_over()); }
  CHECK(forgotten.given_back == 0);
}

TEST_CASE("dlpack: an export and an import keep the storage", "[core][dlpack]") {
  const Tensor tensor = Tensor::from({3}, {1.0, 2.0, 3.0});
  const Tensor back = from_dlpack(to_dlpack(tensor));
  CHECK(back.raw() == tensor.raw());
  const Tensor again = from_dlpack(to_unversioned_dlpack(back));
  CHECK(again.raw() == tensor.raw());
  CHECK(again.dtype() == DType::f64);
}

TEST_CASE("dlpack: a layer accepts imported elements without padding around them",
          "[core][dlpack]") {
  Random random(1);
  const Linear layer({.in = 3, .out = 2}, random);
  auto producer = std::make_unique<Versioned>();
  const auto exact = std::make_unique<float[]>(6);  // sanitizers detect every access outside these
  for (int i = 0; i < 6; ++i) exact[static_cast<std::size_t>(i)] = static_cast<float>(i);
  producer->managed.dl_tensor.data = exact.get();
  const Tensor own = Tensor::from({2, 3}, {0.F, 1.F, 2.F, 3.F, 4.F, 5.F});
  const Tensor expected = layer(Variable(own)).value();
  const Tensor got = layer(Variable(from_dlpack(producer->hand_over()))).value();
  CHECK(producer->given_back == 1);
  for (int i = 0; i < 4; ++i) CHECK(got.data<float>()[i] == expected.data<float>()[i]);
}

TEST_CASE("tensor: wrapped memory is released once, or never without a deleter", "[core][tensor]") {
  std::array<double, 4> memory{1, 2, 3, 4};
  int released = 0;
  const LentMemory lent{.data = memory.data(), .owner = &released, .release = [](void* owner) {
                          ++*static_cast<int*>(owner);
                        }};
  CHECK_THROWS_AS(Tensor({4}, DType::f64, Device::cpu, LentMemory{}), ShapeError);
  CHECK_THROWS_AS(Tensor({4}, DType::f64, Device::cpu,
                         LentMemory{.data = reinterpret_cast<char*>(memory.data()) + 4}),
                  ShapeError);
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 62}, DType::f64, Device::cpu, lent), ShapeError);
  CHECK(released == 0);
  const std::int64_t used = pool_stats().used_bytes;
  {
    const Tensor tensor({2, 2}, DType::f64, Device::cpu, lent);
    const Tensor clone = tensor.clone();
    CHECK(clone.data<double>()[3] == 4);
    CHECK(clone.raw() != tensor.raw());
  }
  CHECK(released == 1);
  { const Tensor tensor({4}, DType::f64, Device::cpu, {.data = memory.data()}); }
  CHECK(pool_stats().used_bytes == used);
}
