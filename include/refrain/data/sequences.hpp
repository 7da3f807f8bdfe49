#pragma once
/// Behaviour logs in memory, and training sequences built from them.

#include <cstdint>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/detail/string_table.hpp"
#include "refrain/data/ragged_ids.hpp"

namespace refrain {

/// The number of an absent string: an unknown user, a missing value.
inline constexpr std::int32_t absent_id = detail::StringTable::absent;

/// A log of (user, item) events in file order, as columns. Memory: 8 bytes per event, 8 more with
/// timestamps and 4 more with ratings, and each original id once.
struct Interactions {
  detail::StringTable users;  ///< user number -> original id
  detail::StringTable items;  ///< item number -> original id
  std::vector<std::int32_t> user;
  std::vector<std::int32_t> item;
  /// the file's numbers, or microseconds since 1970 where it has dates; empty when it has no times:
  /// file order is time order
  std::vector<std::int64_t> time;
  /// empty without ReadOptions::keep_ratings or when the file has no ratings
  std::vector<float> rating;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(user.size()); }
};

/// Item sequences, oldest item first. Memory: 4 bytes per event, up to 12 bytes per row, and each
/// original id once.
struct Sequences {
  detail::StringTable items;       ///< item number -> original id
  RaggedIds rows;                  ///< item numbers
  detail::StringTable users;       ///< user number -> original id; empty when the file has no users
  std::vector<std::int32_t> user;  ///< user number of each row; empty when the file has no users
};

/// Two sequences of each user: row i of `source` and row i of `target`. Either may be empty. The
/// target row of a profile task holds one label.
struct TransferSequences {
  Sequences source;
  Sequences target;
};

/// One row for each user, in order of first appearance. Its items are sorted by timestamp and keep
/// the file order where timestamps are equal or absent. Peak memory in addition to the input: 8
/// bytes per event.
REFRAIN_API Sequences group_by_user(Interactions interactions);

/// Appends the rows of `more` to `sequences`. Equal item ids are one item. When both have users,
/// equal user ids are one user: each user has one row afterwards, in order of first appearance,
/// with the items of `more` last. Otherwise the result has no users, and no rows are joined.
REFRAIN_API void append(Sequences& sequences, const Sequences& more);

/// Splits the items of each row by their numeric id: ids below `first_target_id` go to the source,
/// the others to the target, in the order of the row. Throws DataError when an item id is not a
/// number.
REFRAIN_API TransferSequences split_domains(const Sequences& sequences,
                                            std::int64_t first_target_id);

/// Lengths of the pieces that sequences are cut into.
struct CutOptions {
  std::int64_t length = 0;      ///< maximum length, required
  std::int64_t min_length = 1;  ///< shorter pieces are dropped
};

/// Pieces of sequences, and the row that each was cut from.
struct CutSequences {
  RaggedIds rows;
  std::vector<std::int64_t> origin;
};

/// Cuts each row into consecutive pieces of at most `length` ids, counted from its end: the newest
/// items are in a full piece, the oldest in a short one. The pieces of a row are ordered from the
/// oldest to the newest. Throws OptionError unless 1 <= min_length <= length.
REFRAIN_API CutSequences cut(const RaggedIds& rows, CutOptions options);

}  // namespace refrain
