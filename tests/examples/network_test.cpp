/// Reading of peterrec's base and patch files.

#include <filesystem>

#include "peterrec/network.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/system_faults.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("peterrec: a base and its patches are read once each", "[example]") {
  const ScratchFolder folder;
  const std::vector<std::string> names{"a", "b", "c"};
  const Vocabulary items(names, std::vector<std::int64_t>{3, 2, 1}, {});
  Random random(1);
  peterrec::NextItNet network({.items = items.size(), .channels = 8, .dilations = {1, 2}}, random);
  const std::string base_file = folder.path("base"), patch_file = folder.path("patch");
  peterrec::save_base(base_file, network, items, {});
  const peterrec::PatchSet set(
      network,
      patch_set_options(peterrec::method(peterrec::MethodName::peterrec_serial), {},
                        {.targets = 2}),
      random);
  const std::vector<std::string> labels{"yes", "no"};
  peterrec::save_patch_set(
      patch_file, set, content_hash(network),
      {.task = "churned",
       .targets = Vocabulary(labels, std::vector<std::int64_t>{2, 1}, {.specials = false}),
       .split = {0.7, 0.1, 0.2},
       .test_users = {}});

  const SystemFaults faults({});
  const peterrec::LoadedBase base = peterrec::load_base(base_file);
  CHECK(faults.read == std::filesystem::file_size(base_file));
  CHECK(base.hash == content_hash(network));
  CHECK(content_hash(*base.network) == content_hash(network));
  const peterrec::LoadedPatch patch = peterrec::load_patch_set(patch_file, base);
  CHECK(faults.read ==
        std::filesystem::file_size(base_file) + std::filesystem::file_size(patch_file));
  CHECK(content_hash(*patch.set) == content_hash(set));
}
