#pragma once
/// Behaviour logs in memory, and how they become training sequences.

#include <cstdint>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/detail/string_table.hpp"

namespace refrain {

/// A log of (user, item) events in file order, as columns: 8 bytes an event, plus 8 with timestamps
/// and 4 with ratings, plus the original ids, each once.
struct Interactions {
  StringTable users;  ///< user number -> original id
  StringTable items;  ///< item number -> original id
  std::vector<std::int32_t> user;
  std::vector<std::int32_t> item;
  std::vector<std::int64_t> time;  ///< empty when the file has none: file order is time order
  std::vector<float> rating;  ///< empty when the file has none, or when they were not asked for

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(user.size()); }
};

/// Item sequences, oldest item first: 4 bytes an event and up to 12 bytes a row, plus the original
/// ids, each once.
struct Sequences {
  StringTable items;  ///< item number -> original id
  RaggedIds rows;     ///< item numbers
  StringTable users;  ///< user number -> original id; empty when the file names no users
  std::vector<std::int32_t> user;  ///< user number of each row; empty when the file names no users
};

/// Two sequences a row that belong to one user: row i of `source` and row i of `target`. Either may
/// be empty. For a profile task the target row holds one label.
struct TransferSequences {
  Sequences source;
  Sequences target;
};

/// One row for each user, in order of first appearance; by rising timestamp, and in file order
/// where timestamps are equal or absent.
/// Peak memory on top of the input: 8 bytes an event.
REFRAIN_API Sequences group_by_user(Interactions interactions);

/// Adds the rows of `more` behind those of `sequences`. Equal item ids are one item. Where both
/// name users, equal ids are one user: each has one row afterwards, in order of first appearance,
/// with the items of `more` behind those that were there. Otherwise the result names no users, and
/// every row stays by itself.
REFRAIN_API void append(Sequences& sequences, const Sequences& more);

/// Parts the items of each row by their numeric id: below `first_target_id` into the source, the
/// rest into the target, both in the row's order.
/// Throws DataError when an item id is not a number.
REFRAIN_API TransferSequences split_domains(const Sequences& sequences,
                                            std::int64_t first_target_id);

/// How long sequences are made.
struct CutOptions {
  std::int64_t length = 0;      ///< longest piece, required
  std::int64_t min_length = 1;  ///< shorter pieces are dropped
};

/// Pieces of sequences, and the row that each was cut from.
struct CutSequences {
  RaggedIds rows;
  std::vector<std::int64_t> origin;
};

/// Consecutive pieces of at most `length` ids, counted from the end of each row, so that the newest
/// items are in a whole piece and the oldest in the short one. Pieces of a row follow each other
/// oldest first. They are padded when a batch is made. Throws OptionError unless 1 <= min_length <=
/// length.
REFRAIN_API CutSequences cut(const RaggedIds& rows, CutOptions options);

}  // namespace refrain
