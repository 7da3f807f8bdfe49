#include "src/content_hash.hpp"

#include <bit>

#include "refrain/train/checkpoint.hpp"
#include "refrain/train/content_hash.hpp"

namespace refrain {
namespace detail {

static_assert(std::endian::native == std::endian::little,
              "hashes and files are defined over little-endian bytes");

void ContentHash::add_number(std::int64_t value) { hash_.update(&value, sizeof value); }

void ContentHash::add_text(std::string_view text) {
  add_number(static_cast<std::int64_t>(text.size()));
  hash_.update(text.data(), text.size());
}

void ContentHash::add(std::string_view name, const Tensor& tensor) {
  add_text(name);
  add_text(refrain::name(tensor.dtype()));
  add_number(tensor.rank());
  for (const std::int64_t extent : tensor.shape().extents()) add_number(extent);
  const Tensor host = tensor.to(Device::cpu);
  hash_.update(host.raw(), host.bytes());
}

void ContentHash::add(std::string_view name, std::string_view text) {
  add_text(name);
  add_text(text);
}

std::string ContentHash::digest() const {
  std::string digits(16, '0');
  std::uint64_t value = hash_.digest();
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, value >>= 4)
    *digit = "0123456789abcdef"[value & 15];
  return digits;
}

}  // namespace detail

std::string content_hash(const TensorMap& tensors, const Metadata& metadata) {
  detail::ContentHash hash;
  for (const auto& [name, tensor] : tensors) hash.add(name, tensor);
  for (const auto& [name, text] : metadata) hash.add(name, text);
  return hash.digest();
}

std::string content_hash(const Module& module) { return content_hash(tensors_of(module)); }

}  // namespace refrain
