#pragma once
/// What the functions that score the items of shards share.

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "refrain/distributed/agreement.hpp"
#include "refrain/kernels/gather.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/train/sharded_items.hpp"
#include "src/ranks.hpp"

namespace refrain {

/// The numbers of rows of all ranks. Throws CommunicationError when the settings, described by
/// `what`, differ between ranks. Sends 24 (R - 1) bytes.
inline std::vector<std::int64_t> rows_of_ranks(Communicator& communicator, const char* op,
                                               std::int64_t own, const char* what,
                                               std::array<std::int64_t, 2> settings) {
  const std::array<std::int64_t, 3> header{own, settings[0], settings[1]};
  const std::vector<std::int64_t> all = gather_values<std::int64_t>(communicator, header);
  std::vector<std::int64_t> rows;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    rows.push_back(all[3 * at(rank)]);
    if (all[3 * at(rank) + 1] != all[1] || all[3 * at(rank) + 2] != all[2]) {
      throw CommunicationError(detail::concat(op, ": ", communicator.text(rank), " and ",
                                              communicator.text(0), " differ in ", what));
    }
  }
  return rows;
}

/// Throws unless hidden is [..., C] of the items' dtype on the CPU.
inline void check_hidden(const char* op, const Tensor& hidden, const ShardedItems& items) {
  detail::check_has_rows(op, "hidden", hidden);
  detail::check_shape(op, "hidden", hidden, hidden.shape().with(-1, items.width()));
  if (hidden.dtype() != items.dtype()) {
    throw DTypeError(detail::concat(op, ": expected hidden of ", items.dtype(),
                                    " like the items, got ", hidden.dtype()));
  }
  if (hidden.device() != Device::cpu) {
    throw DeviceError(
        detail::concat(op, ": expected hidden on the CPU, got a tensor on ", hidden.device()));
  }
}

inline Tensor gathered_rows(const Tensor& table, const Tensor& rows) {
  Tensor out = empty_like(table, table.shape().with(0, rows.numel()));
  kernels::run(kernels::GatherRows{.table = table, .ids = rows, .out = out});
  return out;
}

/// Scores hidden weight^T + bias in blocks of hidden vectors, whose division depends on sizes only.
class ScoreBlocks {
 public:
  /// hidden [M,C], weight [n,C], bias [n], n > 0.
  ScoreBlocks(const Tensor& hidden, const Tensor& weight, const Tensor& bias)
      : hidden_(hidden),
        weight_(weight),
        bias_(bias),
        rows_(std::clamp<std::int64_t>(scores_at_once / weight.size(0), 32, 512)),
        scores_({std::min(rows_, hidden.size(0)), weight.size(0)}, hidden.dtype()) {}

  std::int64_t count() const noexcept { return (hidden_.size(0) + rows_ - 1) / rows_; }
  std::int64_t begin(std::int64_t block) const noexcept { return block * rows_; }
  std::int64_t end(std::int64_t block) const noexcept {
    return std::min((block + 1) * rows_, hidden_.size(0));
  }
  Tensor hidden(std::int64_t block) const { return hidden_.slice(begin(block), end(block)); }

  /// The scores [end - begin, n] of a block. The next call overwrites them.
  Tensor scores(std::int64_t block) {
    Tensor scores = scores_.slice(0, end(block) - begin(block));
    kernels::run(kernels::Matmul{
        .a = hidden(block), .b = weight_, .bias = bias_, .c = scores, .transpose_b = true});
    return scores;
  }

 private:
  static constexpr std::int64_t scores_at_once = 1 << 22;

  Tensor hidden_, weight_, bias_;
  std::int64_t rows_;
  Tensor scores_;
};

}  // namespace refrain
