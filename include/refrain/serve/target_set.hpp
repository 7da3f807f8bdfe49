#pragma once
/// Sets of targets, which limit the answers of requests.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

/// A set of targets of one vocabulary, such as the items in stock or those of a region: one bit for
/// each id. A value; special ids are never members.
class TargetSet {
 public:
  /// The empty set of targets of a vocabulary.
  explicit TargetSet(const Vocabulary& targets)
      : first_(targets.first_item()),
        ids_(targets.size()),
        words_((static_cast<std::size_t>(targets.size()) + word_bits - 1) / word_bits) {}

  /// The targets with these names, a range of texts. Names outside the vocabulary are counted by
  /// unknown().
  template <class Names>
  static TargetSet of_names(const Vocabulary& targets, const Names& names) {
    TargetSet set(targets);
    for (const auto& name : names) set.insert(targets.find(name));
    return set;
  }

  /// Adds a target. An id that is no target is counted by unknown().
  void insert(std::int32_t id) {
    if (id < first_ || id >= ids_) {
      ++unknown_;
    } else {
      words_[word_of(id)] |= bit_of(id);
    }
  }

  /// Whether the id is a member; false for every other number.
  bool contains(std::int32_t id) const noexcept {
    return id >= 0 && id < ids_ && (words_[word_of(id)] & bit_of(id)) != 0;
  }

  /// Number of members.
  std::int64_t size() const noexcept {
    std::int64_t members = 0;
    for (const std::uint64_t word : words_) members += std::popcount(word);
    return members;
  }
  /// Number of names and ids that were added and are no targets.
  std::int64_t unknown() const noexcept { return unknown_; }
  /// Number of ids of the vocabulary, with special ids.
  std::int32_t ids() const noexcept { return ids_; }
  /// Bit id % 64 of word id / 64 tells whether the id is a member; other bits are 0.
  std::span<const std::uint64_t> words() const noexcept { return words_; }

  /// Intersection and union; unknown() does not change. Throw OptionError for a set of a vocabulary
  /// with another number of ids.
  TargetSet& operator&=(const TargetSet& other) {
    other.expect_ids(ids_);
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    return *this;
  }
  TargetSet& operator|=(const TargetSet& other) {
    other.expect_ids(ids_);
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }

  /// Throws OptionError unless the set belongs to a vocabulary with this number of ids.
  void expect_ids(std::int64_t ids) const {
    if (ids == ids_) return;
    throw OptionError(detail::concat("TargetSet: expected a set of the targets of a vocabulary of ",
                                     ids, " ids, got one of ", ids_));
  }

 private:
  static constexpr std::size_t word_bits = 64;
  static std::size_t word_of(std::int32_t id) { return static_cast<std::size_t>(id) / word_bits; }
  static std::uint64_t bit_of(std::int32_t id) {
    return std::uint64_t{1} << (static_cast<std::size_t>(id) % word_bits);
  }

  std::int32_t first_;
  std::int32_t ids_;
  std::int64_t unknown_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace refrain
