#pragma once
/// Sums of gradients over ranks, with the same bits for any number of ranks.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "refrain/distributed/communicator.hpp"
#include "refrain/distributed/slice_tree.hpp"

namespace refrain {

/// A list of tensors as one array of N elements, the tensors one after the other, and its division
/// among R ranks. The array is cut into K = ceil(N / 4,096) blocks; rank r owns the blocks
/// [K r / R, K (r + 1) / R), rounded down, as one chunk.
class REFRAIN_API TensorChunks {
 public:
  static constexpr std::int64_t block_size = 4096;

  /// Elements [begin, end) of the array.
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t count() const noexcept { return end - begin; }
  };
  /// Elements [begin, end) of one tensor.
  struct Piece {
    std::size_t tensor = 0;
    Range range;
  };

  /// For tensors on `device`. Throws DTypeError unless dtype is f32 or f64, OptionError unless
  /// ranks >= 1.
  TensorChunks(std::vector<Shape> shapes, DType dtype, int ranks, Device device = Device::cpu);

  const std::vector<Shape>& shapes() const noexcept { return shapes_; }
  DType dtype() const noexcept { return dtype_; }
  int ranks() const noexcept { return ranks_; }
  Device device() const noexcept { return device_; }
  /// N.
  std::int64_t numel() const noexcept { return begins_.back(); }

  /// The chunk of a rank.
  Range chunk(int rank) const noexcept;
  /// The parts of tensors that the chunk of a rank consists of, in order, none of them empty.
  std::vector<Piece> pieces(int rank) const;
  /// The tensors of an array [N], which share its elements.
  std::vector<Tensor> tensors(const Tensor& array) const;

 private:
  std::vector<Shape> shapes_;
  std::vector<std::int64_t> begins_;  ///< first element of each tensor in the array, then N
  DType dtype_;
  int ranks_;
  Device device_;
};

/// The sum of the gradients of the slices of one node of a SliceTree.
struct PartialSum {
  SliceRange node;
  /// One gradient for each tensor, undefined where no slice of the node has one; no elements when
  /// no slice has any gradient. On the device of the TensorChunks.
  std::vector<Tensor> gradients;
};

/// The own chunk of a sum over all slices.
struct ChunkSum {
  Tensor values;                 ///< [n], zero where no slice has a gradient
  std::vector<bool> is_defined;  ///< for each tensor: true when any slice has a gradient
};

/// Adds the partial sums of all ranks in the order of the tree; every rank gets its own chunk of
/// the result. `parts`: the sums of tree.nodes(tree.slices_of(rank, R)), in order.
///
/// Bytes sent by a rank with P partial sums, of n own elements of e bytes and M tensors:
///   P M (R - 1)       which gradients are defined
///   P (N - n) e       the elements of other ranks' chunks, less those of undefined gradients
///
/// Throws OptionError for other nodes, ShapeError, DTypeError and DeviceError for other gradients
/// than those of `chunks`, and CommunicationError.
REFRAIN_API ChunkSum sum_chunks(Communicator& communicator, const SliceTree& tree,
                                const TensorChunks& chunks, const std::vector<PartialSum>& parts);

/// Joins the own chunks of all ranks, [n] each, to the tensors. Sends n e (R - 1) bytes. Throws
/// ShapeError, DTypeError and DeviceError for another chunk than that of this rank, and
/// CommunicationError.
REFRAIN_API std::vector<Tensor> gather_chunks(Communicator& communicator,
                                              const TensorChunks& chunks, const Tensor& own);

/// sum_chunks() and gather_chunks(): every rank gets all sums, with an undefined tensor where no
/// slice has a gradient. With one partial sum on each rank the ranks together send 2 (R - 1) N e
/// bytes and R (R - 1) M for the definitions.
REFRAIN_API std::vector<Tensor> tree_sum(Communicator& communicator, const SliceTree& tree,
                                         const TensorChunks& chunks,
                                         const std::vector<PartialSum>& parts);

/// The sum of the squares of all elements, given the own chunk of each rank: squares of a block
/// are added in double precision in order, then the blocks in order, so that every rank gets the
/// same bits for any number of ranks. Sends 8 (R - 1) bytes for each own block. Throws as
/// gather_chunks() does.
REFRAIN_API double sum_of_squares(Communicator& communicator, const TensorChunks& chunks,
                                  const Tensor& own);

}  // namespace refrain
