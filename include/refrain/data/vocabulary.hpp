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

/// Ids that represent no item. They are never ranked, sampled or recommended.
inline constexpr std::int32_t padding_id = 0;  ///< fills short sequences on the left
inline constexpr std::int32_t tcl_id = 1;      ///< [TCL], the step of the user vector in PeterRec
inline constexpr std::int32_t mask_id = 2;     ///< [MASK], an item to predict
inline constexpr std::int32_t unknown_id = 3;  ///< [UNK], an item outside the vocabulary
inline constexpr std::int32_t special_ids = 4;

/// Maps original item ids to model ids and back.
///
/// Items are numbered from first_item() by descending frequency, ties by first appearance. The
/// popularity rank of an item is therefore id - first_item(), which the log-uniform and the
/// rank-based samplers use. A vocabulary of targets (classes, items of another domain) has no
/// special ids and starts at 0.
class REFRAIN_API Vocabulary {
 public:
  struct Options {
    std::int64_t min_count = 1;  ///< rarer items are omitted
    bool specials = true;
  };

  Vocabulary() : Vocabulary(detail::StringTable{}, {}, Options{}) {}

  /// `counts[i]` is the number of occurrences of `names[i]`. Throws OptionError unless there is one
  /// count for each name, the names are distinct, and the counts and min_count are not negative.
  Vocabulary(std::span<const std::string> names, std::span<const std::int64_t> counts,
             Options options);
  Vocabulary(const detail::StringTable& names, std::span<const std::int64_t> counts,
             Options options);

  /// Counts the items of all rows.
  static Vocabulary build(const Sequences& sequences, Options options);
  static Vocabulary build(const Sequences& sequences) { return build(sequences, Options{}); }

  /// All items of this vocabulary, and the other items of `sequences` with min_count or more
  /// occurrences, with the numbers of occurrences in `sequences` (0 for items that it lacks). Ids
  /// follow from these counts, ties in the order of the ids here, then of first appearance. Throws
  /// OptionError unless min_count >= 0.
  Vocabulary extended(const Sequences& sequences, std::int64_t min_count = 1) const;

  /// V: the number of items and special ids.
  std::int32_t size() const noexcept { return first_item() + names_.size(); }
  /// Number of items, without special ids.
  std::int32_t items() const noexcept { return names_.size(); }
  /// Id of the most frequent item.
  std::int32_t first_item() const noexcept { return has_specials_ ? special_ids : 0; }
  /// True when the vocabulary has special ids.
  bool has_specials() const noexcept { return has_specials_; }

  /// The id of an item; for an unknown item unknown_id, or absent_id in a vocabulary without
  /// special ids.
  std::int32_t find(std::string_view item) const noexcept;

  /// Original id of an item, or "[PAD]", "[TCL]", "[MASK]", "[UNK]"; valid during the lifetime of
  /// the vocabulary. Throws OptionError outside [0, size()).
  std::string_view name(std::int32_t id) const;

  /// Occurrences of an item in the data that the vocabulary was built from; 0 for special ids.
  /// Throws OptionError outside [0, size()).
  std::int64_t count(std::int32_t id) const;

  /// Occurrences of the items from first_item() on.
  std::span<const std::int64_t> item_counts() const noexcept { return counts_; }

  /// The vocabulary as ASCII text for a checkpoint: a header, one line "count name" for each item,
  /// a checksum. Bytes of a name other than printable ASCII are written as %XX.
  std::string serialize() const;

  /// Parses the output of serialize(). Throws DataError with `origin` and the line when the text is
  /// damaged.
  static Vocabulary deserialize(std::string_view text, const std::string& origin = "vocabulary");

  friend REFRAIN_API bool operator==(const Vocabulary& a, const Vocabulary& b);

 private:
  detail::StringTable names_;
  std::vector<std::int64_t> counts_;
  bool has_specials_ = true;
};

/// Encoding of items outside the vocabulary.
enum class UnknownItems : std::uint8_t {
  drop,  ///< removed from the row, which gets shorter
  keep,  ///< replaced by unknown_id
};

/// The rows as ids of the vocabulary, one for each row of `sequences`; a row may become empty. If
/// the rows are views of a file, so is the result: of a temporary file in the same folder, or in
/// that of temporary files if the former cannot be written, which ends with the result. Throws
/// OptionError for UnknownItems::keep with a vocabulary without special ids, and DataError when the
/// file has changed or the temporary file cannot be written.
REFRAIN_API RaggedIds encode(const Sequences& sequences, const Vocabulary& vocabulary,
                             UnknownItems unknown = UnknownItems::drop);

}  // namespace refrain
