/// The device layer on a GPU: copies, the memory pool, streams, captured work.

#include "cuda/arena.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/ops/matmul.hpp"

using namespace refrain;
using test::doubles;

TEST_CASE("cuda: bytes are copied to the GPU and back, also when the host buffer changes",
          "[cuda][device][sanitize]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const std::int64_t count :
       {1, 3, 65536, 100001, 3000000}) {  // below, at and above the staging memory
    Tensor host = test::random_tensor<float>({count}, 3);
    const Tensor kept = host.clone();
    const Tensor there = host.to(Device::cuda);
    host.fill(0);  // immediately after the copy was started
    const Tensor copied = there.clone();
    CHECK(test::same_bytes(copied.to(Device::cpu), kept));
  }
}

TEST_CASE("cuda: tensors are filled, zeroed and repeated on the GPU", "[cuda][device][sanitize]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const std::int64_t count : {1, 255, 256, 257, 100003}) {
    CHECK(doubles(Tensor::full({count}, 2.5, DType::f32, Device::cuda).to(Device::cpu)) ==
          std::vector<double>(static_cast<std::size_t>(count), 2.5));
    CHECK(doubles(Tensor::full({count}, -3, DType::i64, Device::cuda).to(Device::cpu)) ==
          std::vector<double>(static_cast<std::size_t>(count), -3));
    CHECK(doubles(Tensor::zeros({count}, DType::f64, Device::cuda).to(Device::cpu)) ==
          std::vector<double>(static_cast<std::size_t>(count), 0));
  }
  const Tensor element = Tensor::full({1}, 7, DType::f32, Device::cuda);
  CHECK(doubles(Tensor::repeated(element, {5, 5}).to(Device::cpu)) == std::vector<double>(25, 7));
  CHECK(element.item() == 7);
  CHECK_THROWS_AS(element.data<float>(), DeviceError);
}

TEST_CASE("cuda: a loop with repeated sizes allocates only once", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const auto round = [] {
    const Tensor a = Tensor::zeros({1000, 10}, DType::f32, Device::cuda);
    const Tensor b = Tensor::full({77}, 1, DType::f32, Device::cuda);
    return a.clone().numel() + b.numel();
  };
  round();
  const std::int64_t before = pool_stats(Device::cuda).system_allocations;
  for (int i = 0; i < 100; ++i) round();
  CHECK(pool_stats(Device::cuda).system_allocations == before);
  pool_trim(Device::cuda);
  CHECK(pool_stats(Device::cuda).held_bytes == pool_stats(Device::cuda).used_bytes);
}

TEST_CASE("cuda: an event orders two streams", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const OwnedStream side(Device::cuda);
  const std::int64_t count = 1 << 22;
  Tensor values = Tensor::zeros({count}, DType::f32, Device::cuda);
  PinnedBuffer buffer(static_cast<std::size_t>(count) * 4, Device::cuda);
  for (int round = 1; round <= 20; ++round) {
    Event free(Device::cuda), ready(Device::cuda);
    free.record();
    free.delay(side.get());
    std::fill_n(static_cast<float*>(buffer.data()), count, static_cast<float>(round));
    buffer.send(values.raw(), 0, buffer.bytes(), side.get());
    ready.record(side.get());
    ready.delay();
    const Tensor seen = values.clone();
    ready.synchronize();  // the buffer has been read
    CHECK(ready.has_passed());
    const Tensor host = seen.to(Device::cpu);
    CHECK(std::all_of(host.span<float>().begin(), host.span<float>().end(),
                      [&](float value) { return value == static_cast<float>(round); }));
  }
}

TEST_CASE("cuda: a captured graph runs again on new inputs", "[cuda][device]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  Tensor input = test::random_tensor<float>({40, 30}, 1).to(Device::cuda);
  const Tensor weight = test::random_tensor<float>({20, 30}, 2).to(Device::cuda);
  Tensor result;
  const auto work = [&] {
    const Tensor bias = Tensor::full({20}, 0.5, DType::f32,
                                     Device::cuda);  // stored with the graph
    result = linear(Variable(input), Variable(weight), Variable(bias)).value();
  };
  work();
  const CapturedWork captured(Device::cuda, work);
  CHECK(captured.operations() > 0);
  CHECK(captured.kernels() > 0);
  CHECK_FALSE(is_capturing());
  for (std::uint64_t seed = 10; seed < 15; ++seed) {
    const Tensor host = test::random_tensor<float>({40, 30}, seed);
    input.copy_from(host);
    captured.run();
    // Other work must not reuse the memory of the captured graph.
    const Tensor other = Tensor::full({40, 20}, -1, DType::f32, Device::cuda);
    const Tensor expected = linear(Variable(host), Variable(weight.to(Device::cpu)),
                                   Variable(Tensor::full({20}, 0.5, DType::f32)))
                                .value();
    test::check_close<float>(result.to(Device::cpu), doubles(expected), test::on_device);
    CHECK(other.clone().to(Device::cpu).data<float>()[799] == -1);
  }
  CHECK_THROWS_AS(CapturedWork(Device::cuda, [&] { result.to(Device::cpu); }), DeviceError);
  CHECK_THROWS_AS(CapturedWork(Device::cuda, [] { synchronize(Device::cuda); }), DeviceError);
  CHECK_NOTHROW(work());  // a failed capture leaves the stream usable
  CHECK_NOTHROW(synchronize(Device::cuda));
}

TEST_CASE("cuda: products are bit-identical from run to run", "[cuda][matmul][sanitize]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const Variable a(test::random_tensor<float>({70, 500}, 1).to(Device::cuda));
  const Variable b(test::random_tensor<float>({500, 60}, 2).to(Device::cuda));
  const Tensor first = matmul(a, b).value().to(Device::cpu);
  for (int i = 0; i < 20; ++i) CHECK(test::same_bytes(matmul(a, b).value().to(Device::cpu), first));
}
