#pragma once
/// The sub-commands. Each prints to standard output and throws refrain::Error for user errors.

#include "peterrec/options.hpp"

namespace refrain::peterrec {

using examples::Outcome;

/// Trains a base network on behaviour sequences and writes it with its vocabulary.
Outcome pretrain(const Options& options);
/// Trains a patch set for each task on a base and writes one file per task.
Outcome finetune(const Options& options);
/// Measures patch sets, or the base's own head, on the test part.
Outcome evaluate(const Options& options);
/// Prints recommendations and predictions for users and histories.
Outcome recommend(const Options& options);
/// Trains every method on every task and prints one table.
Outcome compare(const Options& options);

}  // namespace refrain::peterrec
