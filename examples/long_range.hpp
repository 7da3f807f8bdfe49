#pragma once
/// Generates sequences whose end depends on their beginning, to test the memory of a network.

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"

namespace refrain::examples {

/// Sizes of the generated sequences.
struct LongRangeOptions {
  std::uint64_t seed = 1;
  std::int32_t users = 3000;
  std::int32_t topics = 1;       ///< values to remember; each has its own keys, cue and answers
  std::int32_t values = 16;      ///< number of keys, and of answers, of a topic
  std::int32_t chatter = 10;     ///< number of noise items
  std::int32_t length = 101;     ///< items of a sequence
  std::int32_t keys_within = 6;  ///< number of first items that include the keys
  std::int32_t cues_after = 60;  ///< number of items before the first cue
  double cue = 0.5;              ///< probability of a cue at a possible place
};

/// Writes one user per line, "user item item ...". Each topic has one key at a random place among
/// the first items. Much later, item "cue<topic>" is followed by "answer<topic>.<value>" with the
/// value of the topic's key. The last item is always such an answer. All other items are noise. A
/// network that forgets the keys can only guess, with probability 1 / values. Throws OptionError
/// for sizes that do not fit this structure, DataError when writing fails.
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
                                    -1);  // topic of the key at each place
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
