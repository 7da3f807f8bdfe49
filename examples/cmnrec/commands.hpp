#pragma once
/// The sub-commands. Each prints to standard output and throws refrain::Error for user errors.

#include "cmnrec/options.hpp"

namespace refrain::cmnrec {

using examples::Outcome;

/// Trains one model and writes it with its vocabulary.
Outcome train(const Options& options);
/// Measures a trained model on the test part of its split.
Outcome evaluate(const Options& options);
/// Prints recommendations for users and histories.
Outcome recommend(const Options& options);
/// Trains the models side by side and prints accuracy and speed.
Outcome compare(const Options& options);

}  // namespace refrain::cmnrec
