#pragma once
/// Item ids of a model.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/sequences.hpp"

namespace refrain {

/// Ids that stand for no item.  They are never ranked, sampled or recommended.
inline constexpr std::int32_t padding_id = 0;  ///< fills sequences up on the left
inline constexpr std::int32_t tcl_id = 1;      ///< [TCL], where the user is read off in fine-tuning
inline constexpr std::int32_t mask_id = 2;     ///< [MASK], an item to be guessed
inline constexpr std::int32_t unknown_id = 3;  ///< [UNK], an item outside the vocabulary
inline constexpr std::int32_t special_ids = 4;

/// Original item ids by model id and back.
///
/// Items are numbered by falling frequency from first_item() on; equally frequent ones in order of
/// their first appearance. So the popularity rank of an item is id - first_item(), which the
/// log-uniform and the rank-based samplers build on. A vocabulary of targets (classes, items of
/// another domain) has no special ids and starts at 0.
class REFRAIN_API Vocabulary {
 public:
  struct Options {
    std::int64_t min_count = 1;  ///< rarer items are left out
    bool specials = true;
  };

  Vocabulary() : Vocabulary(StringTable{}, {}, Options{}) {}

  /// Throws OptionError unless there is one count a name, none negative, and min_count >= 0.
  Vocabulary(const StringTable& names, std::span<const std::int64_t> counts, Options options);

  /// Counts the items of all rows.
  static Vocabulary build(const Sequences& sequences, Options options);
  static Vocabulary build(const Sequences& sequences) { return build(sequences, Options{}); }

  /// V: items and special ids.
  std::int32_t size() const noexcept { return first_item() + names_.size(); }
  std::int32_t items() const noexcept { return names_.size(); }
  std::int32_t first_item() const noexcept { return has_specials_ ? special_ids : 0; }
  bool has_specials() const noexcept { return has_specials_; }

  /// The id of an item; unknown_id when there is none, or StringTable::absent in a vocabulary
  /// without special ids.
  std::int32_t find(std::string_view item) const noexcept;

  /// Original id of an item, or "[PAD]", "[TCL]", "[MASK]", "[UNK]"; valid as long as the
  /// vocabulary. Throws OptionError outside [0, size()).
  std::string_view name(std::int32_t id) const;

  /// Occurrences in the data that it was built from; 0 for special ids. Throws OptionError outside
  /// [0, size()).
  std::int64_t count(std::int32_t id) const;

  /// Occurrences of the items from first_item() on.
  std::span<const std::int64_t> item_counts() const noexcept { return counts_; }

  /// ASCII text, one line an item, that a checkpoint can store: a header, "count name" lines, a
  /// checksum. Bytes of a name other than printable ASCII are written as %XX.
  std::string serialize() const;

  /// Reads back what serialize() wrote. Throws DataError, naming `origin` and the line, when the
  /// text is damaged.
  static Vocabulary deserialize(std::string_view text, const std::string& origin = "vocabulary");

  friend REFRAIN_API bool operator==(const Vocabulary& a, const Vocabulary& b);

 private:
  StringTable names_;
  std::vector<std::int64_t> counts_;
  bool has_specials_ = true;
};

/// What becomes of items outside the vocabulary.
enum class UnknownItems : std::uint8_t {
  drop,  ///< leave them out; the row closes up
  keep,  ///< write unknown_id
};

/// The rows in ids of the vocabulary, as many rows as came in (a row may turn out empty).
/// Throws OptionError when unknown items are to be kept and the vocabulary has no special ids.
REFRAIN_API RaggedIds encode(const Sequences& sequences, const Vocabulary& vocabulary,
                             UnknownItems unknown = UnknownItems::drop);

}  // namespace refrain
