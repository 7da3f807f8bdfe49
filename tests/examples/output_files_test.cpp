/// Output files of the example programs: a file that would not fit or could not be written is
/// refused before training.

#include <filesystem>
#include <fstream>
#include <string>

#include "common/output_files.hpp"
#include "common/saved_config.hpp"
#include "refrain/core/error.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using namespace refrain::examples;
using namespace refrain::test;

namespace {

Vocabulary vocabulary_of(std::size_t items, std::size_t id_bytes) {
  refrain::detail::StringTable names;
  for (std::size_t item = 0; item < items; ++item) {
    std::string id = std::to_string(item);
    names.intern(id.append(id_bytes - id.size(), 'x'));
  }
  return Vocabulary(names, std::vector<std::int64_t>(items, 1), {.min_count = 0});
}

}  // namespace

TEST_CASE("example files: a vocabulary that exceeds a file's limit is refused",
          "[example][reliability]") {
  constexpr std::uint64_t room = 2 << 20;  // half of it for configuration and tensors
  CHECK_NOTHROW(expect_storable(vocabulary_of(98, 10'000), "--min-count 1", room));
  CHECK_NOTHROW(expect_storable(vocabulary_of(99, 10'000), "--min-count 1"));
  CHECK_THROWS_MATCHES(
      expect_storable(vocabulary_of(105, 10'000), "--min-count 1", room), OptionError,
      message_contains("--min-count 1: expected item ids of at most 1048576 bytes") &&
          message_contains(" bytes for 105 items; "));
}

namespace {

/// The message of expect_files(), or "accepted".
std::string refusal(const CommandFiles& files) {
  try {
    expect_files(files);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::size_t count_of_files(const ScratchFolder& folder) {
  const std::filesystem::directory_iterator files(folder.path(""));
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

}  // namespace

TEST_CASE(
    "example files: outputs are checked before the work begins, and the check leaves no files",
    "[example]") {
  const ScratchFolder folder;
  const std::string base = folder.write("base", "bytes");
  const std::string fresh = folder.path("fresh");
  CHECK(refusal({.read = {{"--base", base}, {"--titles", ""}},
                 .replaced = {{"--out", fresh}, {"--resume", folder.path("state")}},
                 .appended = {{"--log", ""}}}) == "accepted");
  CHECK(refusal({.read = {}, .replaced = {{"--out", base}}, .appended = {}}) == "accepted");
  CHECK(
      refusal({.read = {}, .replaced = {}, .appended = {{"--results", fresh}, {"--log", base}}}) ==
      "accepted");
  CHECK(count_of_files(folder) == 1);
  std::string text;
  std::getline(std::ifstream(base), text);
  CHECK(text == "bytes");

  const auto replaced = [](const std::string& path) {
    return refusal({.read = {}, .replaced = {{"--out", path}}, .appended = {}});
  };
  const auto appended = [](const std::string& path) {
    return refusal({.read = {}, .replaced = {}, .appended = {{"--results", path}}});
  };
  CHECK_THAT(replaced(""), contains("--out: expected a file name, got an empty string"));
  for (const auto& refused :
       {replaced(folder.path("missing/file")), appended(folder.path("missing/file"))}) {
    CHECK_THAT(refused, contains(": expected a file in an existing folder"));
    CHECK_THAT(refused, contains("no folder " + folder.path("missing")));
  }
  CHECK_THAT(replaced(folder.path("")), contains("is not a regular file"));
  CHECK_THAT(appended(folder.path("")), contains("cannot be written"));
}

TEST_CASE("example files: an output must differ from all other files of the command, also by links",
          "[example]") {
  const ScratchFolder folder;
  const std::string base = folder.write("base", "bytes");
  const std::string fresh = folder.path("fresh");
  std::filesystem::create_directory(folder.path("sub"));
  std::filesystem::create_symlink(base, folder.path("symbolic"));
  std::filesystem::create_hard_link(base, folder.path("hard"));
  std::filesystem::create_symlink("fresh", folder.path("dangling"));
  for (const char* name : {"base", "sub/../base", "symbolic", "hard"}) {
    INFO(name);
    CHECK_THAT(refusal({.read = {{"--base", base}},
                        .replaced = {{"--out", folder.path(name)}},
                        .appended = {}}),
               contains("which is also given as --base"));
    CHECK_THAT(refusal({.read = {{"--base", base}},
                        .replaced = {},
                        .appended = {{"--log", folder.path(name)}}}),
               contains("--log: expected a distinct file, got "));
  }
  CHECK_THAT(refusal({.read = {},
                      .replaced = {{"--out", fresh}},
                      .appended = {{"--log", folder.path("dangling")}}}),
             contains("which is also given as --out"));
  CHECK_THAT(
      refusal({.read = {}, .replaced = {{"--out", fresh}, {"--out", fresh}}, .appended = {}}),
      contains("which is given twice"));
  CHECK_THAT(
      refusal({.read = {}, .replaced = {}, .appended = {{"--results", fresh}, {"--log", fresh}}}),
      contains("--log: expected a distinct file"));
  CHECK(refusal({.read = {{"--titles", "/dev/null"}},
                 .replaced = {},
                 .appended = {{"--log", "/dev/null"}}}) == "accepted");
}

TEST_CASE("example files: a read-only file is not replaced", "[example]") {
  const ScratchFolder folder;
  const std::string base = folder.write("base", "bytes");
  std::filesystem::permissions(base, std::filesystem::perms::owner_read);
  CHECK_THAT(refusal({.read = {}, .replaced = {{"--out", base}}, .appended = {}}),
             contains("is read-only; choose another file for --out"));
  CHECK_THAT(refusal({.read = {}, .replaced = {}, .appended = {{"--log", base}}}),
             contains("is read-only; choose another file for --log"));
}
