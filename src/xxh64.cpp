#include "refrain/core/detail/xxh64.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace refrain::detail {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the digest is defined over little-endian words");

constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87u;
constexpr std::uint64_t prime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr std::uint64_t prime3 = 0x165667B19E3779F9u;
constexpr std::uint64_t prime4 = 0x85EBCA77C2B2AE63u;
constexpr std::uint64_t prime5 = 0x27D4EB2F165667C5u;

template <class T>
T load(const unsigned char* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::uint64_t mixed(std::uint64_t lane, std::uint64_t word) noexcept {
  return std::rotl(lane + word * prime2, 31) * prime1;
}

}  // namespace

Xxh64::Xxh64(std::uint64_t seed) noexcept
    : lanes_{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}, seed_(seed) {}

void Xxh64::take_stripe(const unsigned char* stripe) noexcept {
  for (std::size_t i = 0; i < 4; ++i)
    lanes_[i] = mixed(lanes_[i], load<std::uint64_t>(stripe + 8 * i));
}

void Xxh64::update(const void* bytes, std::size_t count) noexcept {
  const unsigned char* at = static_cast<const unsigned char*>(bytes);
  total_ += count;
  while (count > 0) {
    if (buffered_ == 0 && count >= buffer_.size()) {
      take_stripe(at);
      at += buffer_.size();
      count -= buffer_.size();
      continue;
    }
    const std::size_t taken = std::min(count, buffer_.size() - buffered_);
    std::memcpy(buffer_.data() + buffered_, at, taken);
    buffered_ += taken;
    at += taken;
    count -= taken;
    if (buffered_ == buffer_.size()) {
      take_stripe(buffer_.data());
      buffered_ = 0;
    }
  }
}

std::uint64_t Xxh64::digest() const noexcept {
  std::uint64_t hash = seed_ + prime5;
  if (total_ >= buffer_.size()) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) hash = (hash ^ mixed(0, lane)) * prime1 + prime4;
  }
  hash += total_;
  const unsigned char* at = buffer_.data();
  std::size_t left = buffered_;
  for (; left >= 8; left -= 8, at += 8) {
    hash = std::rotl(hash ^ mixed(0, load<std::uint64_t>(at)), 27) * prime1 + prime4;
  }
  if (left >= 4) {
    hash = std::rotl(hash ^ (load<std::uint32_t>(at) * prime1), 23) * prime2 + prime3;
    at += 4;
    left -= 4;
  }
  for (; left > 0; --left, ++at) hash = std::rotl(hash ^ (*at * prime5), 11) * prime1;
  hash = (hash ^ (hash >> 33)) * prime2;
  hash = (hash ^ (hash >> 29)) * prime3;
  return hash ^ (hash >> 32);
}

}  // namespace refrain::detail
