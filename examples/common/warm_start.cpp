#include "common/warm_start.hpp"

#include <algorithm>

#include "common/concat.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/text.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::examples {
namespace {

bool is_item_table(const std::string& parameter) {
  return parameter.ends_with("embedding.weight") || parameter.ends_with("head.weight") ||
         parameter.ends_with("head.bias");
}

/// A value without the quotes of a JSON string.
std::string shown(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

void expect_architecture(const WarmStart& warm, const nlohmann::json& given,
                         const nlohmann::json& stored) {
  for (const auto& [name, value] : stored.items()) {
    const std::string option = "--" + name;
    if (!warm.given.contains(option) || given.at(name) == value) continue;
    throw OptionError(concat(option, ": expected ", shown(value), ", as in ", warm.file,
                             " of --from, got ", shown(given.at(name))));
  }
}

std::string note_of(const std::string& training, const WarmStart& warm) {
  return warm.is_on() ? concat(training, ", from ", warm.file) : training;
}

WarmVocabulary extended_vocabulary(const Vocabulary& known, const Sequences& sequences,
                                   std::int64_t min_count) {
  WarmVocabulary made{known.extended(sequences, min_count), {}};
  std::int64_t absent = 0;
  for (std::int32_t id = known.first_item(); id < known.size(); ++id)
    absent += made.vocabulary.count(made.vocabulary.find(known.name(id))) == 0;
  made.text = concat(with_commas(known.items()), " items are known, ", with_commas(absent),
                     " of them not in the data; ",
                     with_commas(made.vocabulary.items() - known.items()), " are new");
  return made;
}

void keep_known(const Module& trained, const Vocabulary& known, Module& network,
                const Vocabulary& vocabulary) {
  const TensorMap from = tensors_of(trained);
  for (auto& [name, tensor] : tensors_of(network)) {
    const Tensor& source = from.at(name);
    Tensor into = tensor;
    if (!is_item_table(name)) {
      into.copy_from(source);
      continue;
    }
    for (std::int32_t id = 0; id < known.size(); ++id) {
      const std::int32_t to = id < known.first_item() ? id : vocabulary.find(known.name(id));
      into.slice(to, to + 1).copy_from(source.slice(id, id + 1));
    }
  }
}

}  // namespace refrain::examples
