#pragma once
/// Files of models for recommendation: parameters, vocabulary, and the length of histories.

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "refrain/core/export.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/nn/scores.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain {

/// The vocabulary of a model file. Throws DataError when the file has none.
REFRAIN_API Vocabulary vocabulary_of(const Checkpoint& file);

namespace detail {
REFRAIN_API Metadata with_vocabulary(Metadata texts, const Vocabulary& vocabulary,
                                     std::int64_t length);
REFRAIN_API void expect_length(const Checkpoint& file, std::int64_t length);
}  // namespace detail

/// Saves a model with the vocabulary of its ids and its length(), if it has one, as the texts
/// "vocabulary" and "length".
template <std::derived_from<Module> Model>
void save_model(const std::string& path, const Model& model, const Vocabulary& vocabulary,
                const Metadata& texts = {}) {
  save_model(path, model, detail::with_vocabulary(texts, vocabulary, detail::length_of(model)));
}

/// Fills a model from its file and returns the texts.
///
///   Checkpoint file = read_checkpoint("net.safetensors");
///   const Vocabulary vocabulary = vocabulary_of(file);
///   Net net(vocabulary.size(), random);
///   load_model(std::move(file), net);
///
/// Throws DataError as load_model() of a module, and when the saved model has another length, for
/// which histories would be padded differently than in training.
template <class Model>
requires std::derived_from<Model, Module> &&(!std::same_as<Model, Module>)Metadata
    load_model(Checkpoint file, Model& model) {
  detail::expect_length(file, detail::length_of(model));
  return load_model(std::move(file), static_cast<Module&>(model));
}
/// Fills a model from the file at `path`.
template <class Model>
requires std::derived_from<Model, Module> &&(!std::same_as<Model, Module>)Metadata
    load_model(const std::string& path, Model& model) {
  return load_model(read_checkpoint(path), model);
}

}  // namespace refrain
