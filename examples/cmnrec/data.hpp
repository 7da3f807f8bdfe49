#pragma once
/// Reads files into sequences of T + 1 items; the last item is the target of the last time step.

#include <cstdint>
#include <string>
#include <vector>

#include "cmnrec/options.hpp"
#include "refrain/data/dataset.hpp"

namespace refrain::cmnrec {

/// Reads all files as one log. If a user occurs in several files, the items of a later file follow
/// those of the earlier ones. Throws DataError, OptionError.
Sequences read_behaviour(const examples::LogOptions& log);

/// The vocabulary of the items with min_item_count or more occurrences. Throws OptionError when
/// there are fewer than two.
Vocabulary vocabulary_of(const Sequences& behaviour, const DataOptions& options);

/// The sequences for training and tests: pieces of T + 1 items, counted from each user's newest
/// item. Prints the sizes of the parts. Throws OptionError when a part is empty.
Dataset prepare(const Sequences& behaviour, const Vocabulary& vocabulary,
                const DataOptions& options, std::int64_t length);

/// The user of each test sequence: the id in the files, or the number of the line, from 1, where
/// the files have no users. `options` and `length` are those of prepare().
std::vector<std::string> test_users(const Sequences& behaviour, const Dataset& data,
                                    const DataOptions& options, std::int64_t length);

/// A hash of items, sequences and parts. Equal data with equal options has the same hash on every
/// machine.
std::uint64_t fingerprint(const Dataset& data);

}  // namespace refrain::cmnrec
