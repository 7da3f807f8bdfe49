#pragma once
/// The command `prepare`: a behaviour log as a sequence store.

#include "common/options.hpp"

namespace refrain::examples {

/// Writes the store of the one file of --data to --out and prints what it holds. SIGINT and SIGTERM
/// end it without a store. Throws OptionError for other numbers of files, and as prepare_store().
Outcome prepare_log(const LogOptions& log, const PrepareOptions& options);

}  // namespace refrain::examples
