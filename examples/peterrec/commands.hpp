#pragma once
/// The sub-commands.  Each prints to standard output and throws refrain::Error for what the user has to mend.

#include "peterrec/options.hpp"

namespace refrain::peterrec {

/// Trains a base network on behaviour sequences and writes it with its vocabulary.
void pretrain(const Options& options);
/// Trains a patch set for each task on a base and writes one file each.
void finetune(const Options& options);
/// Measures patch sets, or the base alone, on the test part.
void evaluate(const Options& options);
/// Prints recommendations and predictions for users and histories.
void recommend(const Options& options);
/// Trains every method on every task and prints one table.
void compare(const Options& options);

}  // namespace refrain::peterrec
