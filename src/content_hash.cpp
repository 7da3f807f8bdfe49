#include "refrain/train/content_hash.hpp"

#include <bit>
#include <string_view>

#include "refrain/train/checkpoint.hpp"

namespace refrain {
namespace {

static_assert(std::endian::native == std::endian::little,
              "hashes and files are defined over little-endian bytes");

void update_number(Xxh64& hash, std::int64_t value) { hash.update(&value, sizeof value); }

void update_text(Xxh64& hash, std::string_view text) {
  update_number(hash, static_cast<std::int64_t>(text.size()));
  hash.update(text.data(), text.size());
}

std::string hexadecimal(std::uint64_t value) {
  std::string digits(16, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, value >>= 4)
    *digit = "0123456789abcdef"[value & 15];
  return digits;
}

}  // namespace

std::string content_hash(const TensorMap& tensors, const Metadata& metadata) {
  Xxh64 hash;
  for (const auto& [name, tensor] : tensors) {
    update_text(hash, name);
    update_text(hash, refrain::name(tensor.dtype()));
    update_number(hash, tensor.rank());
    for (const std::int64_t extent : tensor.shape().extents()) update_number(hash, extent);
    const Tensor host = tensor.to(Device::cpu);
    hash.update(host.raw(), host.bytes());
  }
  for (const auto& [name, text] : metadata) {
    update_text(hash, name);
    update_text(hash, text);
  }
  return hexadecimal(hash.digest());
}

std::string content_hash(const Module& module) { return content_hash(tensors_of(module)); }

}  // namespace refrain
