#pragma once
/// One time step of a recurrent layer on the GPU: a product of tiles, followed by the cell of every
/// (sequence, unit) of the tile.
///
///   forward    sums[g] = sum_k x[b,k] weight[g H + unit, k]   all gates g of a unit in one block
///   backward   sum     = sum_k da[b,k] weight[k, unit]           k over the gates of all units
///
/// A cell is a functor with the pointers of its time step:
///   gates, units (forward)         the sums of a unit, and the units of a block
///   Operands read(b, unit)         its inputs besides the sums; issued before the product, so that
///                                  the loads overlap with it
///   write(b, unit, operands, sums)
/// Each (b, unit) belongs to one thread of the grid, so a cell may overwrite its own inputs.
///
/// Tiles are small and the warps of a block split k: a time step has at most B x gates H sums (for
/// instance 128 x 1024) for 132 multiprocessors. The duration of a time step is then the latency of
/// one block, not the arithmetic of all.
///
/// One launch for a segment, with blocks that keep their sequences for all time steps, would be
/// slower: with tiles of 16, 128 sequences occupy 8 multiprocessors, and each reads the whole
/// weight through its shared memory at every time step, H / 8 times as much as a block here. It
/// would save a launch per time step, which is cheap in a captured training step.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/tiling/tiles.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int step_threads = 256;

/// Sizes of the state of a layer.
struct StepSize {
  std::int64_t batch;
  std::int64_t hidden;
};

/// 32 sequences by `columns` (gates x units), two warps along the sequences, four along k.
template <int columns>
inline constexpr TileShape forward_tile{.rows = 32,
                                        .columns = columns,
                                        .depth = 64,
                                        .row_warps = 2,
                                        .column_warps = 1,
                                        .stages = 3,
                                        .depth_warps = 4};

/// 16 sequences by 16 units, all eight warps along k, which is long.
template <class T>
inline constexpr TileShape backward_tile{.rows = 16,
                                         .columns = 16,
                                         .depth = sizeof(T) == 4 ? 128 : 64,
                                         .row_warps = 1,
                                         .column_warps = 1,
                                         .stages = 3,
                                         .depth_warps = 8};

/// The tile of sequences and units that a block takes; the blocks of one tile of sequences are
/// neighbours.
struct StepTile {
  std::int64_t first_row;
  std::int64_t first_unit;
  __device__ __forceinline__ StepTile(const StepSize& size, int rows, int units) {
    const std::int64_t unit_tiles = (size.hidden + units - 1) / units;
    first_row = static_cast<std::int64_t>(blockIdx.x) / unit_tiles * rows;
    first_unit = static_cast<std::int64_t>(blockIdx.x) % unit_tiles * units;
  }
};

/// The product of one tile, whose column g units + u belongs to gate g of unit u, then its cells in
/// equal shares for each thread, neighbours along the units.
template <class Product, TileShape tile, int units, class Cell, class A, class B>
__device__ __forceinline__ void step_tile(const StepSize& size, const StepTile& at,
                                          std::int64_t depth, const A& a, const B& b,
                                          const Cell& cell) {
  using T = typename Product::Element;
  constexpr int gates = tile.columns / units;
  constexpr int share = tile.rows * units / Product::threads;
  static_assert(gates * units == tile.columns && share * Product::threads == tile.rows * units);
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  const auto visit_cells = [&](auto&& visit) {
    REFRAIN_UNROLL
    for (int i = 0; i < share; ++i) {
      const int cell_of_tile = static_cast<int>(threadIdx.x) + i * Product::threads;
      const int row = cell_of_tile / units;
      const int unit = cell_of_tile % units;
      if (at.first_row + row < size.batch && at.first_unit + unit < size.hidden)
        visit(i, row, unit);
    }
  };
  typename Cell::Operands operands[share] = {};
  visit_cells([&](int i, int row, int unit) {
    operands[i] = cell.read(at.first_row + row, at.first_unit + unit);
  });

  Product product;
  product.clear();
  product.add(shared, static_cast<int>((depth + Product::depth - 1) / Product::depth), a, b);

  // The panels are no longer read: the larger one stores the sums, [depth_warps][rows][stride].
  constexpr int stride = tile.columns + (tile.columns % 32 == 24 ? 16 : 8);
  constexpr bool in_a = Product::PanelA::elements >= Product::PanelB::elements;
  static_assert(tile.depth_warps * tile.rows * stride <=
                tile.stages * (in_a ? Product::PanelA::elements : Product::PanelB::elements));
  T* const sums = in_a ? shared.a : shared.b;
  product.visit([&](int m, int n, T sum) {
    sums[(Product::depth_part() * tile.rows + m) * stride + n] = sum;
  });
  __syncthreads();
  visit_cells([&](int i, int row, int unit) {
    T total[gates];
    REFRAIN_UNROLL
    for (int g = 0; g < gates; ++g) {
      const T* const from = sums + row * stride + g * units + unit;
      total[g] = from[0];
      REFRAIN_UNROLL
      for (int part = 1; part < tile.depth_warps; ++part)
        total[g] += from[part * tile.rows * stride];
    }
    cell.write(at.first_row + row, at.first_unit + unit, operands[i], total);
  });
}

/// x [B,H], weight [gates H, H]. At least one block per multiprocessor: without a bound ptxas aims
/// at three, and some cells spill registers.
template <class T, MathMode mode, bool aligned, class Cell>
__global__ void __launch_bounds__(step_threads, 1)
    forward_step(StepSize size, const T* x, const T* weight, Cell cell) {
  constexpr int units = Cell::units;
  constexpr TileShape tile = forward_tile<Cell::gates * units>;
  using Product = TileProduct<T, mode, tile, Contiguous::depth, Contiguous::depth, aligned>;
  static_assert(Product::threads == step_threads);
  const StepTile at(size, tile.rows, units);
  step_tile<Product, tile, units>(
      size, at, size.hidden,
      DepthRows<T>{x, size.hidden, at.first_row, size.batch, size.hidden, tile.depth},
      [&](int slice, int outer) -> PanelRow<T> {
        const std::int64_t unit = at.first_unit + outer % units;
        const std::int64_t k = static_cast<std::int64_t>(slice) * tile.depth;
        return {weight + (outer / units * size.hidden + unit) * size.hidden + k,
                unit < size.hidden ? size.hidden - k : 0};
      },
      cell);
}

/// Rows of gate gradients that are multiplied by the weight.
template <class T>
struct Upstream {
  const T* da;          ///< [B,depth]
  std::int64_t stride;  ///< elements from row to row
  std::int64_t depth;   ///< 0: the sums are zero
};

/// weight [depth, H].
template <class T, MathMode mode, bool aligned, class Cell>
__global__ void __launch_bounds__(step_threads, 1)
    backward_step(StepSize size, Upstream<T> upstream, const T* weight, Cell cell) {
  constexpr TileShape tile = backward_tile<T>;
  using Product = TileProduct<T, mode, tile, Contiguous::depth, Contiguous::side, aligned>;
  static_assert(Product::threads == step_threads);
  const StepTile at(size, tile.rows, tile.columns);
  step_tile<Product, tile, tile.columns>(
      size, at, upstream.depth,
      DepthRows<T>{upstream.da, upstream.stride, at.first_row, size.batch, upstream.depth,
                   tile.depth},
      SideRows<T>{weight, size.hidden, at.first_unit, size.hidden, upstream.depth, tile.depth},
      cell);
}

// ---- launches ----

/// Launches the time steps of one segment. `aligned`: every row of a factor starts at a multiple of
/// 16 bytes and is a multiple of 16 bytes long.
///
/// Tensor cores require rows of whole 16-byte groups: f32 with other rows is multiplied exactly
/// in every math_mode(); f64 always moves single elements.
template <class T>
class Steps {
 public:
  Steps(const char* name, const StepSize& size, bool aligned)
      : name_(name), size_(size), aligned_(aligned) {}

  template <class Cell>
  void forward(const T* x, const T* weight, const Cell& cell) const {
    for_arithmetic([&]<MathMode mode, bool aligned>() {
      constexpr TileShape tile = forward_tile<Cell::gates * Cell::units>;
      using Product = TileProduct<T, mode, tile, Contiguous::depth, Contiguous::depth, aligned>;
      simt::launch(how(tile.rows, Cell::units, Product::shared_bytes()),
                   forward_step<T, mode, aligned, Cell>, size_, x, weight, cell);
    });
  }

  template <class Cell>
  void backward(const Upstream<T>& upstream, const T* weight, const Cell& cell) const {
    for_arithmetic([&]<MathMode mode, bool aligned>() {
      constexpr TileShape tile = backward_tile<T>;
      using Product = TileProduct<T, mode, tile, Contiguous::depth, Contiguous::side, aligned>;
      simt::launch(how(tile.rows, tile.columns, Product::shared_bytes()),
                   backward_step<T, mode, aligned, Cell>, size_, upstream, weight, cell);
    });
  }

 private:
  template <class Visit>
  void for_arithmetic(Visit&& visit) const {
    if constexpr (std::is_same_v<T, float>) {
      if (aligned_)
        return for_math_mode<T>([&]<MathMode mode>() { visit.template operator()<mode, true>(); });
    }
    visit.template operator()<MathMode::exact, false>();
  }

  simt::Launch how(int rows, int units, std::size_t shared_bytes) const {
    const std::int64_t tiles =
        (size_.batch + rows - 1) / rows * ((size_.hidden + units - 1) / units);
    return {.name = name_,
            .grid = simt::blocks_for(tiles, 1),
            .block = step_threads,
            .shared_bytes = shared_bytes};
  }

  const char* name_;
  StepSize size_;
  bool aligned_;
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
