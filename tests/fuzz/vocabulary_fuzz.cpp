/// Saved vocabularies: a text is accepted only if it is exactly what serialize() writes.

#include <array>
#include <cinttypes>

#include "fuzz/program.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain::fuzz {
namespace {

/// The checksum line by its definition (FNV-1a), so that inputs get past it.
std::string with_checksum(std::string_view body) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : body) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211u;
  }
  std::array<char, 32> line{};
  std::snprintf(line.data(), line.size(), "checksum %016" PRIx64 "\n", hash);
  return std::string(body) + line.data();
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  const bool mended = choices.next() % 4 != 0;
  const std::string text = mended ? with_checksum(choices.rest()) : std::string(choices.rest());
  Vocabulary vocabulary;
  if (!accepted("origin", [&] { vocabulary = Vocabulary::deserialize(text, "origin"); })) return;
  require(vocabulary.serialize() == text, "what is accepted is written the same");
  for (std::int32_t id = vocabulary.first_item(); id < vocabulary.size(); ++id) {
    require(vocabulary.find(vocabulary.name(id)) == id, "an item's name leads back to it");
    require(vocabulary.count(id) >= 0, "no count is negative");
  }
}

std::vector<std::string> seeds() {
  detail::StringTable names;
  for (const char* name : {"plain", "with blank", "caf\xC3\xA9", "100%", "\"quoted\\\""})
    names.intern(name);
  const std::vector<std::int64_t> counts{5, 5, 9, 1, 0};
  std::vector<std::string> all;
  for (const bool specials : {false, true}) {
    const std::string text =
        Vocabulary(names, counts, {.min_count = 0, .specials = specials}).serialize();
    all.push_back(std::string("\0", 1) + text);
    all.push_back("\1" + text.substr(0, text.rfind("checksum ")));
  }
  all.push_back("\1refrain-vocabulary 1 items=0 specials=1\n");
  all.push_back("\1refrain-vocabulary 1 items=2000000000 specials=0\n1 a\n");
  return all;
}

}  // namespace refrain::fuzz
