/// Ranks that train together on one GPU, which they share: bytes move through page-locked memory.

#include <string>
#include <vector>

#include "cuda/arena.hpp"
#include "refrain/distributed/local_group.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"

using namespace refrain;

namespace cuda_ranks_test {

/// The hash of the parameters after training on the GPU in eight slices.
std::string trained(const Dataset& data, Communicator* communicator) {
  test::SmallRecommender model(data.vocabulary.size(), {.keep = 0.7});
  model.to(Device::cuda);
  fit(model, data,
      {.epochs = 2,
       .batch = 40,
       .slices = 8,
       .communicator = communicator,
       .max_norm = 0.5,
       .patience = 0,
       .progress = Progress::Style::quiet});
  return content_hash(model);
}

}  // namespace cuda_ranks_test

TEST_CASE("cuda: ranks that share the GPU end with the bytes of one",
          "[cuda][train][distributed]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const Dataset data = test::generated_dataset();
  const std::string expected = cuda_ranks_test::trained(data, nullptr);
  for (const int ranks : {2, 3}) {
    std::vector<std::string> all(static_cast<std::size_t>(ranks));
    LocalGroup(ranks).run([&](Communicator& communicator) {
      all[static_cast<std::size_t>(communicator.rank())] =
          cuda_ranks_test::trained(data, &communicator);
    });
    for (const std::string& each : all) CHECK(each == expected);
  }
}
