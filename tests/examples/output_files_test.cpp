/// The files of the example programs: what would not fit or could not be written is refused before
/// anything is trained.

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

TEST_CASE("example files: a vocabulary that no file has room for is refused",
          "[example][reliability]") {
  constexpr std::uint64_t room = 2 << 20;  // half of it for configuration and tensors
  CHECK_NOTHROW(expect_storable(vocabulary_of(98, 10'000), "--min-count 1", room));
  CHECK_NOTHROW(expect_storable(vocabulary_of(99, 10'000), "--min-count 1"));
  CHECK_THROWS_MATCHES(expect_storable(vocabulary_of(105, 10'000), "--min-count 1", room),
                       OptionError,
                       message_contains("--min-count 1: the ids of 105 items would take"));
}

TEST_CASE(
    "example files: outputs are files of their own that can be written, and trying leaves nothing",
    "[example]") {
  const ScratchFolder folder;
  const std::string base = folder.write("base", "bytes");
  const std::string fresh = folder.path("fresh");
  CHECK_NOTHROW(expect_outputs({{"--out", fresh}, {"--resume", folder.path("state")}},
                               {{"--base", base}, {"--log", ""}}));
  CHECK_NOTHROW(expect_outputs({{"--out", base}}, {}));
  CHECK_NOTHROW(expect_appendable({"--results", fresh}));
  CHECK_NOTHROW(expect_appendable({"--results", base}));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path("")), {}) == 1);
  std::string text;
  std::getline(std::ifstream(base), text);
  CHECK(text == "bytes");

  const auto refusal = [](const std::vector<NamedFile>& written,
                          const std::vector<NamedFile>& others) -> std::string {
    try {
      expect_outputs(written, others);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK_THAT(refusal({{"--out", ""}}, {}),
             contains("--out: expected the name of a file, got none"));
  CHECK_THAT(refusal({{"--out", folder.path("missing/file")}}, {}),
             contains("no folder " + folder.path("missing")));
  CHECK_THAT(refusal({{"--out", folder.path("")}}, {}), contains("is not a regular file"));
  std::filesystem::create_directory(folder.path("sub"));
  CHECK_THAT(refusal({{"--out", folder.path("sub/../base")}}, {{"--base", base}}),
             contains("which is that of --base"));
  std::filesystem::create_symlink(base, folder.path("link"));
  CHECK_THAT(refusal({{"--out", folder.path("link")}}, {{"--base", base}}),
             contains("which is that of --base"));
  CHECK_THAT(refusal({{"--out", fresh}, {"--out", fresh}}, {}), contains("which it names twice"));
  CHECK_THROWS_MATCHES(expect_appendable({"--results", folder.path("missing/file")}), OptionError,
                       message_contains("--results: expected a file in a folder that is there"));
  CHECK_THROWS_AS(expect_appendable({"--results", folder.path("")}), DataError);
}
