/// DLPack on a GPU: exported and imported memory, and order between streams.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/core/dlpack.hpp"
#include "refrain/core/stream.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

Tensor counted(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from<float>({count}, values).to(Device::cuda);
}

}  // namespace

TEST_CASE("cuda: dlpack, elements on the GPU are shared", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  Tensor tensor = counted(1'000);
  DlpackTensor out = to_dlpack(tensor.slice(10, 20));
  CHECK(out->dl_tensor.device.device_type == dlpack::DeviceType::cuda);
  CHECK(out->dl_tensor.device.device_id == 0);
  Tensor back = from_dlpack(std::move(out));
  REQUIRE(back.device() == Device::cuda);
  CHECK(back.to(Device::cpu).data<float>()[3] == 13);
  back.fill(5);
  CHECK(tensor.to(Device::cpu).data<float>()[19] == 5);
  back = Tensor();
  CHECK(tensor.unique());
}

TEST_CASE("cuda: dlpack, the consumer's stream waits for the producer's work", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const OwnedStream consumer(Device::cuda);
  CHECK(dlpack_stream(Device::cuda) != 0);
  for (int round = 0; round < 20; ++round) {
    Tensor tensor({std::int64_t{1} << 24}, DType::f32, Device::cuda);
    for (int i = 0; i < 4; ++i) tensor.fill(i);  // work that takes a while
    tensor.fill(round + 1);
    DlpackTensor out = to_dlpack(tensor, {.consumer = consumer.get()});
    const StreamScope scope(consumer);
    CHECK(dlpack_stream(Device::cuda) ==
          static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(consumer.get().handle)));
    const Tensor there = from_dlpack(std::move(out));
    CHECK(there.slice(there.size(0) - 1, there.size(0)).item() == round + 1);
    synchronize(Device::cuda);
  }
}

TEST_CASE("cuda: dlpack, an import waits for the given stream", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const OwnedStream producer(Device::cuda);
  Tensor tensor({std::int64_t{1} << 24}, DType::f32, Device::cuda);
  synchronize(Device::cuda);
  for (int round = 0; round < 20; ++round) {
    {
      const StreamScope scope(producer);
      for (int i = 0; i < 4; ++i) tensor.fill(i);
      tensor.fill(round + 1);
    }
    const Tensor copy = from_dlpack(to_dlpack(tensor), {.copy = true, .producer = producer.get()});
    CHECK(copy.slice(copy.size(0) - 1, copy.size(0)).item() == round + 1);
    synchronize(Device::cuda, producer.get());
  }
}
