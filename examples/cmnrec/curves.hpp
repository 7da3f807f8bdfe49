#pragma once
/// Learning curves as files.

#include <array>
#include <span>
#include <string>

#include "cmnrec/results.hpp"

namespace refrain::cmnrec {

/// PREFIX-curves.jsonl and PREFIX-curves.svg.
std::array<std::string, 2> curve_files(const std::string& prefix);

/// Writes PREFIX-curves.jsonl, one line for each epoch of each run, and PREFIX-curves.svg: the
/// validation figure by epoch and by seconds of training, one colour per model and one line per
/// seed. Runs without training are omitted. Throws DataError when writing fails.
void write_curves(const std::string& prefix, std::span<const Run> runs);

}  // namespace refrain::cmnrec
