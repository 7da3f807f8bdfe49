#pragma once
/// Telling contents apart, and finding damage.

#include <string>

#include "refrain/core/export.hpp"
#include "refrain/core/detail/xxh64.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain {

/// XXH64 over names, element types, shapes and elements of all tensors in the order of names, then
/// over the texts: 16 hexadecimal digits.
REFRAIN_API std::string content_hash(const TensorMap& tensors, const Metadata& metadata = {});

/// content_hash() of a module's parameters, under the names that they have in this module.
REFRAIN_API std::string content_hash(const Module& module);

}  // namespace refrain
