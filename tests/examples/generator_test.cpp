/// The examples' data generator: the readers read its files, and the planted patterns can be
/// measured.

#include <fstream>
#include <iterator>
#include <string>

#include "generator.hpp"
#include "refrain/data/readers.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using refrain::examples::generate;
using refrain::examples::GeneratedFiles;
using refrain::examples::GeneratorOptions;
using refrain::examples::World;

namespace {

std::string bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("generator: the readers accept its files", "[data][example]") {
  const test::ScratchFolder folder;
  const GeneratorOptions options{.users = 200};
  const GeneratedFiles files = generate(folder.path("a/b"), options);
  CHECK(detect_format(files.sequences) == Format::user_items);
  CHECK(detect_format(files.transfer) == Format::transfer_csv);
  const Sequences sequences = read_sequences(files.sequences);
  const Profiles profiles = read_profiles(files.profiles);
  const Titles titles = read_titles(files.titles);
  const TransferSequences transfer = read_transfer(files.transfer);
  CHECK(sequences.rows.rows() == 200);
  CHECK(profiles.users.size() == 200);
  CHECK(titles.titles.size() == 800);
  CHECK(transfer.source.rows.total() == sequences.rows.total());
  CHECK(titles.find("m31") == "Film 2, cluster 1");
  CHECK(titles.find("b25") == "Book 6, group 1");
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    const std::size_t length = sequences.rows[row].size();
    REQUIRE(length >= 20);
    REQUIRE(length <= 60);
  }
  for (std::int32_t item = 0; item < sequences.items.size(); ++item)
    REQUIRE(titles.find(sequences.items[item]).has_value());
  for (std::int32_t item = 0; item < transfer.target.items.size(); ++item)
    REQUIRE(titles.find(transfer.target.items[item]).has_value());
  CHECK(label_users(sequences, profiles, "age").target.items.size() == 5);
}

TEST_CASE("generator: the same seed gives the same bytes, another seed gives others",
          "[data][example]") {
  const test::ScratchFolder folder;
  const GeneratedFiles a = generate(folder.path("a"), {.users = 20});
  const GeneratedFiles b = generate(folder.path("b"), {.users = 20});
  const GeneratedFiles c = generate(folder.path("c"), {.seed = 2, .users = 20});
  for (const auto file : {&GeneratedFiles::sequences, &GeneratedFiles::profiles,
                          &GeneratedFiles::transfer, &GeneratedFiles::titles}) {
    CHECK(bytes(a.*file) == bytes(b.*file));
  }
  CHECK(bytes(a.sequences) != bytes(c.sequences));
}

TEST_CASE("generator: the generated dependencies can be counted", "[data][example]") {
  const GeneratorOptions options{.users = 1500};
  const World world(options);
  double far = 0, chain = 0, far_chance = 0, periodic = 0, steps = 0, firsts = 0;
  double own_parity = 0, own_age = 0, items = 0, own_group = 0, targets = 0;
  for (std::int32_t number = 0; number < options.users; ++number) {
    const World::User user = world.user(number);
    const std::int32_t length = static_cast<std::int32_t>(user.items.size());
    for (std::int32_t t = 10; t < length; ++t) {
      const auto back = [&](std::int32_t n) { return user.items[static_cast<std::size_t>(t - n)]; };
      if (t % 7 == 0) {
        firsts += 1;
        periodic += back(0) == back(7) ? 1 : 0;
        continue;
      }
      steps += 1;
      far += back(0) == (back(9) + 300) % 600 ? 1 : 0;
      far_chance += back(0) == (back(10) + 300) % 600 ? 1 : 0;
      chain += back(0) / 30 == back(1) / 30 && back(0) % 30 == (back(1) + 1) % 30 ? 1 : 0;
    }
    items += 1;
    // First items depend only on taste.
    own_parity += user.items[0] / 30 % 2 == user.gender ? 1 : 0;
    own_age += user.items[0] / 30 % 5 == user.age ? 1 : 0;
    for (const std::int32_t target : user.targets) {
      targets += 1;
      own_group += target / 20 == user.gender * 5 + user.age ? 1 : 0;
    }
  }
  CHECK(periodic / firsts > 0.78);
  CHECK(periodic / firsts < 0.85);
  CHECK(far / steps > 0.34);
  CHECK(far / steps < 0.44);  // 0.35 and coincidences: chain and far followers commute
  CHECK(far_chance / steps < 0.05);
  CHECK(chain / steps > 0.34);
  CHECK(chain / steps < 0.40);
  CHECK(own_parity / items == Approx(0.75).margin(0.06));   // 3 to 1
  CHECK(own_age / items == Approx(0.5).margin(0.07));       // 4 to 4 times 1
  CHECK(own_group / targets == Approx(0.82).margin(0.04));  // 0.8 and a tenth of the rest
}

TEST_CASE("generator: worlds that are too small and folders that cannot be created are refused",
          "[data][example]") {
  CHECK_THROWS_AS(World({.users = 0}), OptionError);
  CHECK_THROWS_AS(World({.items = 19}), OptionError);
  CHECK_THROWS_AS(World({.min_length = 5, .max_length = 4}), OptionError);
  const test::ScratchFolder folder;
  CHECK_THROWS_AS(generate(folder.write("file", "x") + "/under", {.users = 2}), DataError);
  const World smallest({.users = 1,
                        .items = 20,
                        .target_items = 10,
                        .min_length = 1,
                        .max_length = 1,
                        .max_targets = 1});
  CHECK(smallest.user(0).items.size() == 1);
}
