#pragma once
/// From files to sequences of T + 1 items, of which the last is what the last time step predicts.

#include <cstdint>

#include "cmnrec/options.hpp"
#include "refrain/data/dataset.hpp"

namespace refrain::cmnrec {

/// All files as one; a user of several has the items of one file behind those of the files before
/// it. Throws DataError, OptionError.
Sequences read_behaviour(const examples::LogOptions& log);

/// The items that are frequent enough. Throws OptionError when there are fewer than two.
Vocabulary vocabulary_of(const Sequences& behaviour, const DataOptions& options);

/// What networks train and are tested on: pieces of T + 1 items, counted from each user's newest.
/// Prints
/// the sizes of the parts. Throws OptionError when a part is empty.
Dataset prepare(const Sequences& behaviour, const Vocabulary& vocabulary,
                const DataOptions& options, std::int64_t length);

/// Identifies items, sequences and parts: equal data under equal options has the same number on
/// every machine.
std::uint64_t fingerprint(const Dataset& data);

}  // namespace refrain::cmnrec
