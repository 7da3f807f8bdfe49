/// Training on GPUs by several ranks ends with the bytes of one process. The GPUs are those of
/// host_gpu.hpp, NCCL is its double.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "nccl/double.hpp"
#include "nccl/host_gpu.hpp"
#include "refrain/distributed/local_group.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/catch.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"

using namespace refrain;
using namespace refrain::test;

namespace gpu_training_test {

/// The hash of the parameters, and the losses and metrics.
using Ended = std::pair<std::string, std::vector<double>>;

Ended trained(const Dataset& data, Device device, Communicator* communicator,
              std::int64_t batch = 40) {
  SmallRecommender model(data.vocabulary.size(), {.keep = 0.7});
  model.to(device);
  Ended ended;
  fit(model, data,
      {.epochs = 2,
       .batch = batch,
       .slices = 8,
       .communicator = communicator,
       .max_norm = 0.5,
       .patience = 0,
       .progress = Progress::Style::quiet,
       .on_step = [&](const StepReport& step) { ended.second.push_back(step.loss); },
       .on_epoch = [&](const EpochReport& epoch) { ended.second.push_back(epoch.metric); }});
  ended.first = content_hash(model);
  return ended;
}

}  // namespace gpu_training_test

using namespace gpu_training_test;

TEST_CASE("training: ranks with GPUs end with the bytes of one process", "[nccl][determinism]") {
  const Dataset data = generated_dataset();
  for (const std::int64_t batch : {40, 6}) {
    const Ended expected = trained(data, Device::cuda, nullptr, batch);
    for (const int ranks : {1, 2, 3, 5}) {
      INFO(ranks << " ranks, batches of " << batch);
      std::vector<Ended> by_nccl(static_cast<std::size_t>(ranks)), by_host = by_nccl;
      nccl_double::reset();
      host_gpu::bytes_fetched = 0;
      LocalGroup(ranks).run([&](Communicator& host) {
        const std::unique_ptr<Communicator> gpus = nccl::ranks(host, {}, nccl_double::functions());
        by_nccl[static_cast<std::size_t>(host.rank())] =
            trained(data, Device::cuda, gpus.get(), batch);
      });
      std::int64_t messages = 0;
      for (int rank = 0; rank < ranks; ++rank) messages += nccl_double::count("send", rank);
      CHECK((messages > 0) == (ranks > 1));
      // One rank reads its losses later, through page-locked memory.
      CHECK((host_gpu::bytes_fetched == 0) == (ranks > 1));
      LocalGroup(ranks).run([&](Communicator& host) {
        by_host[static_cast<std::size_t>(host.rank())] = trained(data, Device::cuda, &host, batch);
      });
      CHECK(host_gpu::bytes_fetched > 0);
      for (const Ended& ended : by_nccl) CHECK(ended == expected);
      for (const Ended& ended : by_host) CHECK(ended == expected);
    }
  }
}

TEST_CASE("training: ranks on different devices are refused", "[nccl]") {
  const Dataset data = generated_dataset();
  const auto run = [&] {
    LocalGroup(2).run([&](Communicator& host) {
      trained(data, host.rank() == 0 ? Device::cpu : Device::cuda, &host);
    });
  };
  CHECK_THROWS_MATCHES(run(), CommunicationError,
                       message_contains("device: rank 1 (this process) has cuda, rank 0 (this "
                                        "process) has cpu"));
}
