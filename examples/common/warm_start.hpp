#pragma once
/// Training that starts from a trained model (--from), with a vocabulary that has more items.

#include <nlohmann/json.hpp>
#include <string>

#include "common/options.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/module.hpp"

namespace refrain::examples {

/// Throws OptionError about the first option that the command line gives with another value than
/// the file of --from. `given` and `stored`: the values of the network's options, with the options'
/// names without dashes as keys.
void expect_architecture(const WarmStart& warm, const nlohmann::json& given,
                         const nlohmann::json& stored);

/// A file's note on its training, with the model that it started from.
std::string note_of(const std::string& training, const WarmStart& warm);

/// The items of a model and those of new data.
struct WarmVocabulary {
  Vocabulary vocabulary;  ///< all items of the model, and new ones
  std::string text;       ///< "1,024 items are known, 3 of them not in the data; 12 are new"
};
/// Extends the vocabulary of a model by the items of `sequences` with min_count or more
/// occurrences.
WarmVocabulary extended_vocabulary(const Vocabulary& known, const Sequences& sequences,
                                   std::int64_t min_count);

/// Copies the parameters of a trained network into an untrained one of the same architecture, both
/// on the CPU: in item tables (embedding.weight, head.weight, head.bias) the rows of the known
/// items, all other parameters as a whole. Rows of other items keep their initial values.
/// `vocabulary` has all items of `known`.
void keep_known(const Module& trained, const Vocabulary& known, Module& network,
                const Vocabulary& vocabulary);

}  // namespace refrain::examples
