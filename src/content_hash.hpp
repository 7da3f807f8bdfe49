#pragma once
// The hash of a checkpoint's contents, updated piece by piece.

#include <string>
#include <string_view>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain::detail {

/// Computes content_hash() incrementally: all tensors in the order of their names, then all texts.
/// digest() between the two is the hash of the tensors without texts.
class ContentHash {
 public:
  void add(std::string_view name, const Tensor& tensor);
  void add(std::string_view name, std::string_view text);

  /// 16 hexadecimal digits.
  std::string digest() const;

 private:
  void add_number(std::int64_t value);
  void add_text(std::string_view text);

  Xxh64 hash_;
};

}  // namespace refrain::detail
