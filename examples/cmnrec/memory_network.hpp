#pragma once
/// Converts a model's options to those of the memory network.

#include "cmnrec/options.hpp"
#include "refrain_models/cmnrec.hpp"

namespace refrain::cmnrec {

/// `ids`: size of the vocabulary. Throws OptionError for a schedule that does not fit the length.
template <class Controller>
typename models::CmnRec<Controller>::Options memory_options(const ModelOptions& options,
                                                            std::int64_t ids) {
  const bool is_every_step = options.chunks().chunks() == options.length;
  return {.items = ids,
          .embedding = options.embedding,
          .hidden = options.hidden,
          .words = options.words,
          .word_size = options.word_size,
          .heads = options.heads,
          .layers = options.layers,
          .attention = is_every_step ? 0 : options.attention,
          .keep = options.keep,
          .order = options.order,
          .recompute = options.recompute ? Recompute::segments : Recompute::none,
          .length = options.length,
          .tied = options.tied,
          .dropout = options.dropout};
}

}  // namespace refrain::cmnrec
