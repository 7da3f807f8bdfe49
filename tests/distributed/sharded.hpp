#pragma once
/// Tables that are sharded over ranks that are threads, and slices of batches.

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "refrain/distributed/local_group.hpp"
#include "refrain/train/sharded_items.hpp"
#include "support/tensors.hpp"

namespace refrain::test::sharded {

inline void on_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  LocalGroup(ranks, {.deadline = std::chrono::seconds(60), .delay = {}}).run(body);
}

/// A check inside a rank. The assertions of Catch2 are for one thread.
inline void expect(bool is_so, const std::string& what) {
  if (!is_so) throw std::runtime_error("expected " + what);
}

/// The slices of one rank of tensors with a row for each row of the batch.
inline std::vector<Tensor> own_slices(const Tensor& batch, std::int64_t slices,
                                      const Communicator& communicator) {
  const SliceRange own = SliceTree(slices).slices_of(communicator.rank(), communicator.size());
  const std::int64_t rows = batch.size(0);
  std::vector<Tensor> tensors;
  for (std::int64_t slice = own.begin; slice < own.end; ++slice)
    tensors.push_back(batch.slice(rows * slice / slices, rows * (slice + 1) / slices));
  return tensors;
}

inline std::vector<Variable> leaves(const std::vector<Tensor>& tensors) {
  std::vector<Variable> leaves;
  for (const Tensor& tensor : tensors) leaves.emplace_back(tensor, true);
  return leaves;
}

/// Copies the rows of the own shards to their places in a whole table.
template <class Get>
void copy_own_rows(ShardedItems& items, Tensor& whole, Get get) {
  for (ShardedItems::Shard& shard : items.own()) {
    const Tensor rows = get(shard);
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      const std::int64_t id = RowShards::row_of(shard.number, i);
      whole.slice(id, id + 1).copy_from(rows.slice(i, i + 1));
    }
  }
}

/// A table with the options `options` on one rank of a group, filled with given values.
inline std::unique_ptr<ShardedItems> filled(Communicator& communicator, const Tensor& weight,
                                            const Tensor& bias, AdamOptions adam = {}) {
  Random random(1);
  auto items = std::make_unique<ShardedItems>(
      communicator,
      ShardedItemsOptions{
          .count = weight.size(0), .width = weight.size(1), .dtype = weight.dtype(), .adam = adam},
      random);
  items->assign(weight, bias);
  return items;
}

}  // namespace refrain::test::sharded
