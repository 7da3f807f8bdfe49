#pragma once
/// Generates behaviour data with a known structure in the file formats of real data sets, so that
/// the examples run without a download.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"

namespace refrain::examples {

/// Sizes of the generated world and strengths of its patterns.
struct GeneratorOptions {
  std::uint64_t seed = 1;
  std::int32_t users = 3000;
  std::int32_t items = 600;         ///< of the source domain, rounded down to whole clusters
  std::int32_t target_items = 200;  ///< of the target domain, rounded down to whole groups
  std::int32_t min_length = 20;     ///< source items of a user
  std::int32_t max_length = 60;
  std::int32_t max_targets = 3;  ///< target items of a user, at least one
  std::int32_t far_steps = 9;    ///< distance of the long-range dependency
  std::int32_t period_steps = 7;
  double far = 0.35;      ///< share of time steps determined by the item `far_steps` before
  double chain = 0.35;    ///< share of time steps determined by the item before; the rest is taste
  double periodic = 0.8;  ///< share of periods whose first item repeats that of the period before
  double loyal = 0.8;     ///< share of target items from the group of the user's profile
};

/// Paths of the files that generate() writes.
struct GeneratedFiles {
  std::string sequences;  ///< "user item item ..."
  std::string profiles;   ///< format of MovieLens 1M's users.dat
  std::string transfer;   ///< "item,item,...,,target,..."
  std::string titles;     ///< format of MovieLens' movies.csv, items of both domains
};

/// A world of 20 source clusters.
///
/// Each user has a gender and one of five age bands. Cluster c is twelve times as likely if c mod 2
/// equals the gender and c mod 5 the age band as if neither does. The item of time step t is the
/// first of these that applies, each with its probability: at the first time step of a period, the
/// item one period before; the item at the same place as that `far_steps` before, in the opposite
/// cluster; the item after the previous one in its cluster; or a popular item of a cluster
/// according to the user's taste. Target items come from the group of the user's profile.
/// Occupations are random: a model that predicts them better than chance has seen the answers.
class World {
 public:
  static constexpr std::int32_t clusters = 20;
  static constexpr std::int32_t ages = 5;
  static constexpr std::int32_t groups = 2 * ages;

  struct User {
    std::int32_t gender = 0;
    std::int32_t age = 0;
    std::vector<std::int32_t> items;
    std::vector<std::int32_t> targets;
  };

  /// Throws OptionError for sizes too small to hold the structure.
  explicit World(GeneratorOptions options) : options_(options) {
    if (options.users < 1 || options.items < clusters || options.target_items < groups ||
        options.min_length < 1 || options.max_length < options.min_length ||
        options.max_targets < 1 || options.far_steps < 1 || options.period_steps < 1) {
      throw OptionError(
          fmt::format("generator: expected users, lengths, targets and steps >= 1, max_length >= "
                      "min_length, at least {} items and {} target items",
                      clusters, groups));
    }
  }

  std::int32_t cluster_items() const noexcept { return options_.items / clusters; }
  std::int32_t group_items() const noexcept { return options_.target_items / groups; }

  /// The item that the long-range dependency determines.
  std::int32_t far_follower(std::int32_t item) const noexcept {
    return (item + clusters / 2 * cluster_items()) % (clusters * cluster_items());
  }

  /// The item that the chain determines.
  std::int32_t chain_follower(std::int32_t item) const noexcept {
    const std::int32_t size = cluster_items();
    return item / size * size + (item % size + 1) % size;
  }

  /// User number `user`, independent of the users generated before.
  User user(std::int32_t user) const {
    Random random = Random(options_.seed, 0x574F'524C'44).split(static_cast<std::uint64_t>(user));
    User made;
    made.gender = static_cast<std::int32_t>(random.below(2));
    made.age = static_cast<std::int32_t>(random.below(ages));
    const std::int32_t length =
        options_.min_length +
        static_cast<std::int32_t>(random.below(options_.max_length - options_.min_length + 1));
    for (std::int32_t t = 0; t < length; ++t) made.items.push_back(next_item(made, random));
    const std::int64_t targets = 1 + random.below(options_.max_targets);
    for (std::int64_t i = 0; i < targets; ++i) {
      const bool loyal = random.uniform() < options_.loyal;
      const std::int32_t group =
          loyal ? made.gender * ages + made.age : static_cast<std::int32_t>(random.below(groups));
      made.targets.push_back(group * group_items() + popular(group_items(), random));
    }
    return made;
  }

 private:
  std::int32_t next_item(const User& user, Random& random) const {
    const std::int32_t t = static_cast<std::int32_t>(user.items.size());
    const auto back = [&](std::int32_t steps) {
      return user.items[static_cast<std::size_t>(t - steps)];
    };
    if (t >= options_.period_steps && t % options_.period_steps == 0 &&
        random.uniform() < options_.periodic) {
      return back(options_.period_steps);
    }
    const double way = random.uniform();
    if (way < options_.far && t >= options_.far_steps)
      return far_follower(back(options_.far_steps));
    if (way < options_.far + options_.chain && t >= 1) return chain_follower(back(1));
    return taste(user, random) * cluster_items() + popular(cluster_items(), random);
  }

  std::int32_t taste(const User& user, Random& random) const {
    std::array<double, clusters> weight{};
    double sum = 0;
    for (std::int32_t c = 0; c < clusters; ++c) {
      sum += weight[static_cast<std::size_t>(c)] =
          (c % 2 == user.gender ? 3.0 : 1.0) * (c % ages == user.age ? 4.0 : 1.0);
    }
    double left = random.uniform() * sum;
    std::int32_t c = 0;
    while (c + 1 < clusters && left >= weight[static_cast<std::size_t>(c)])
      left -= weight[static_cast<std::size_t>(c++)];
    return c;
  }

  /// A log-uniform place in [0, size): P(k) = log((k + 2) / (k + 1)) / log(size + 1).
  static std::int32_t popular(std::int32_t size, Random& random) {
    const double place = std::exp(random.uniform() * std::log(size + 1.0)) - 1;
    return std::min(static_cast<std::int32_t>(place), size - 1);
  }

  GeneratorOptions options_;
};

namespace detail {

inline std::ofstream open_for_writing(const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) throw DataError(path, 0, "cannot be written");
  return out;
}

inline void finish(std::ofstream& out, const std::string& path) {
  out.close();
  if (!out) throw DataError(path, 0, "writing failed: is the disk full?");
}

}  // namespace detail

/// Writes a generated world into `folder`, which is created if necessary. The same options give the
/// same bytes. Throws OptionError for invalid options, DataError when writing fails.
inline GeneratedFiles generate(const std::string& folder, const GeneratorOptions& options = {}) {
  const World world(options);
  std::error_code ignored;  // opening the files reports the error
  std::filesystem::create_directories(folder, ignored);
  const GeneratedFiles files{folder + "/sequences.txt", folder + "/users.dat",
                             folder + "/transfer.csv", folder + "/movies.csv"};
  std::ofstream sequences = detail::open_for_writing(files.sequences);
  std::ofstream profiles = detail::open_for_writing(files.profiles);
  std::ofstream transfer = detail::open_for_writing(files.transfer);
  std::ofstream titles = detail::open_for_writing(files.titles);

  constexpr std::array age_codes{18, 25, 35, 45, 50};
  Random occupations(options.seed, 0x4A4F'4253);
  for (std::int32_t number = 0; number < options.users; ++number) {
    const World::User user = world.user(number);
    sequences << number + 1;
    for (const std::int32_t item : user.items) sequences << " m" << item;
    sequences << '\n';
    for (const std::int32_t item : user.items) transfer << 'm' << item << ',';
    for (const std::int32_t target : user.targets) transfer << ",b" << target;
    transfer << '\n';
    profiles << number + 1 << "::" << (user.gender == 0 ? 'F' : 'M')
             << "::" << age_codes[static_cast<std::size_t>(user.age)]
             << "::" << occupations.below(21) << "::00000\n";
  }
  titles << "movieId,title,genres\n";
  for (std::int32_t item = 0; item < World::clusters * world.cluster_items(); ++item) {
    titles << 'm' << item << ",\"Film " << item % world.cluster_items() + 1 << ", cluster "
           << item / world.cluster_items() << "\",film\n";
  }
  for (std::int32_t item = 0; item < World::groups * world.group_items(); ++item) {
    titles << 'b' << item << ",\"Book " << item % world.group_items() + 1 << ", group "
           << item / world.group_items() << "\",book\n";
  }
  detail::finish(sequences, files.sequences);
  detail::finish(profiles, files.profiles);
  detail::finish(transfer, files.transfer);
  detail::finish(titles, files.titles);
  return files;
}

}  // namespace refrain::examples
