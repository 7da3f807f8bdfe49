#pragma once
/// Hashes of the contents of models and files.

#include <string>

#include "refrain/core/export.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain {

/// XXH64 over the names, dtypes, shapes and elements of all tensors in the order of their names,
/// then over the texts, as 16 hexadecimal digits. It detects damage, not forgery.
REFRAIN_API std::string content_hash(const TensorMap& tensors, const Metadata& metadata = {});

/// content_hash() of the parameters of a module under their names in this module. Throws
/// OptionError when a parameter is unfilled.
REFRAIN_API std::string content_hash(const Module& module);

}  // namespace refrain
