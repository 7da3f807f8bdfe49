#pragma once
/// A synthetic rating log in MovieLens' format.

#include <cstdint>
#include <string>

#include "refrain/core/random.hpp"
#include "refrain/data/dataset.hpp"
#include "support/scratch.hpp"

namespace refrain::test {

/// A ratings.csv of `users` users: item i is mostly followed by i + 1, cyclically over `items`
/// items with the names "1", "2", ... Lines are unordered; timestamps define the order.
inline std::string generated_ratings(std::int64_t users = 120, std::int64_t items = 40,
                                     std::uint64_t seed = 1) {
  Random random(seed);
  std::string text = "userId,movieId,rating,timestamp\n";
  for (std::int64_t user = 1; user <= users; ++user) {
    std::int64_t item = random.below(items);
    const std::int64_t events = 6 + random.below(10);
    std::string newest_first;
    for (std::int64_t event = 0; event < events; ++event) {
      newest_first =
          detail::concat(user, ",", item + 1, ",4.5,", 1'000'000'000 + 60 * event, "\n") +
          newest_first;
      item = random.uniform() < 0.85 ? (item + 1) % items : random.below(items);
    }
    text += newest_first;
  }
  return text;
}

/// The data set of that log.
inline Dataset generated_dataset(DatasetOptions options = {.leave_last_out = true}) {
  const ScratchFolder folder;
  return read_dataset(folder.write("ratings.csv", generated_ratings()), options);
}

}  // namespace refrain::test
