#pragma once
/// Made-up sequences whose end depends on their beginning, so that a network is tried for what it
/// remembers.

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"

namespace refrain::examples {

/// Sizes of the made-up world.
struct LongRangeOptions {
  std::uint64_t seed = 1;
  std::int32_t users = 3000;
  std::int32_t topics = 1;       ///< things to remember; each has its own keys, cue and answers
  std::int32_t values = 16;      ///< keys of a topic, and answers
  std::int32_t chatter = 10;     ///< items that mean nothing
  std::int32_t length = 101;     ///< items of a sequence
  std::int32_t keys_within = 6;  ///< of its first items
  std::int32_t cues_after = 60;  ///< the first cue comes no earlier
  double cue = 0.5;              ///< how often a cue comes where it may
};

/// Writes one user a line, "user item item ...". Within the first items each topic shows one key,
/// at a random place. Much later come cues: item "cue<topic>" is followed by
/// "answer<topic>.<value>" with the value of the topic's key. The last item is always such an
/// answer. Everything else is chatter: who forgets the keys can do no better than guess, 1 /
/// values. Throws OptionError for sizes that cannot hold this, DataError when writing fails.
inline void generate_long_range(const std::string& path, const LongRangeOptions& options = {}) {
  if (options.topics < 1 || options.values < 2 || options.chatter < 1 ||
      options.keys_within < options.topics || options.cues_after < options.keys_within ||
      options.length < options.cues_after + 2 || options.users < 1) {
    throw OptionError(
        "generator: expected topics <= keys_within <= cues_after <= length - 2, and at least 2 "
        "values");
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) throw DataError(path, 0, "cannot be written");
  for (std::int32_t user = 0; user < options.users; ++user) {
    Random random = Random(options.seed, 0x4C4F'4E47).split(static_cast<std::uint64_t>(user));
    std::vector<std::int64_t> value(static_cast<std::size_t>(options.topics));
    for (std::int64_t& each : value) each = random.below(options.values);
    std::vector<std::int32_t> shown(static_cast<std::size_t>(options.keys_within),
                                    -1);  // topic whose key is at a place
    for (std::int32_t topic = 0; topic < options.topics; ++topic)
      shown[static_cast<std::size_t>(topic)] = topic;
    random.shuffle(shown);
    out << user + 1;
    const auto chatter = [&] { out << " m" << random.below(options.chatter); };
    const auto cue = [&] {
      const std::int64_t topic = random.below(options.topics);
      out << " cue" << topic << " answer" << topic << '.' << value[static_cast<std::size_t>(topic)];
    };
    for (const std::int32_t topic : shown) {
      if (topic < 0) {
        chatter();
      } else {
        out << " key" << topic << '.' << value[static_cast<std::size_t>(topic)];
      }
    }
    std::int32_t at = options.keys_within;
    for (; at < options.cues_after; ++at) chatter();
    while (at < options.length - 2) {
      if (at + 2 <= options.length - 2 && random.uniform() < options.cue) {
        cue();
        at += 2;
      } else {
        chatter();
        ++at;
      }
    }
    cue();
    out << '\n';
  }
  out.close();
  if (!out) throw DataError(path, 0, "writing failed: is the disk full?");
}

}  // namespace refrain::examples
