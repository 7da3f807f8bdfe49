#pragma once
/// Device templates of the attention over a chunk; formulas, grids and bytes: cuda.cu.

#include <cmath>
#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/warp_rows.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int attention_warps = 8;
inline constexpr int attention_threads = 32 * attention_warps;
// Columns of tanh(weight c + query) at a time, two per lane.
inline constexpr int attention_units = 64;
// Elements of a hidden vector in shared memory at a time.
inline constexpr int attention_depth = 32;
inline constexpr int attention_back_rows = 8;    // rows whose gradients one thread holds
inline constexpr int attention_outer_side = 64;  // rows and columns of a tile of dweight
inline constexpr int attention_outer_depth = 16;

struct AttentionDims {
  std::int64_t batch;
  int length;
  int hidden;
  int width;
};

/// c_1 .. c_l of all sequences as rows [l B,H].
template <class T>
struct ChunkRows {
  T* first;
  T* rest;

  /// Row b of step j, or null if that step is not requested.
  __device__ __forceinline__ T* at(int j, std::int64_t b, const AttentionDims& d) const {
    if (j == 0) return first == nullptr ? nullptr : first + b * d.hidden;
    return rest == nullptr ? nullptr : rest + ((j - 1) * d.batch + b) * d.hidden;
  }
};

/// The sequences of a block, and its rows: those of step 0, then those of step 1, and so on.
struct AttentionBlock {
  std::int64_t first;
  int length;
  int count;
  int rows;

  __device__ __forceinline__ AttentionBlock(const AttentionDims& d, int sequences)
      : first(static_cast<std::int64_t>(blockIdx.x) * sequences), length(d.length) {
    count = d.batch - first < sequences ? static_cast<int>(d.batch - first) : sequences;
    rows = count * d.length;
  }
  __device__ __forceinline__ int step(int row) const { return row / count; }
  __device__ __forceinline__ std::int64_t sequence(int row) const { return first + row % count; }
  /// Index of the value of a row in a piece [count,l].
  __device__ __forceinline__ int score(int row) const { return row % count * length + row / count; }
};

// ---- forward ----

template <class T>
struct AttentionForwardTensors {
  ChunkRows<const T> chunk;
  const T* weight;
  const T* query;
  const T* score;
  T* out;
  T* alpha;  ///< or null
  T* tanh;   ///< or null
};

/// Bytes of shared memory of chunk_attention.
template <class T, int warp_rows>
constexpr std::size_t attention_forward_bytes(std::int64_t length, int sequences) {
  return simt::piece_bytes<T>(attention_warps * warp_rows * attention_depth) +
         simt::piece_bytes<T>(attention_units * (attention_depth + 1)) +
         simt::piece_bytes<T>(length * sequences);
}

/// A block takes up to `sequences` sequences with all steps, 8 warp_rows rows at a time: a warp has
/// warp_rows of them, a lane two units of each. The block then computes the softmax, a warp per
/// sequence, and the weighted sum, which reads the hidden vectors from the caches.
template <class T, int warp_rows>
__global__ void __launch_bounds__(attention_threads, 2)
    chunk_attention(AttentionForwardTensors<T> tensors, AttentionDims d, int sequences) {
  constexpr int depth = attention_depth;
  constexpr int pack = simt::Pack<T>::count;
  const AttentionBlock block(d, sequences);
  simt::SharedCarver carver;
  T* const all_rows =
      carver.take<T>(attention_warps * warp_rows * depth);           // [warps,warp_rows,depth]
  T* const weights = carver.take<T>(attention_units * (depth + 1));  // [units,depth+1]
  T* const scores = carver.take<T>(d.length * sequences);            // [count,l] z, then alpha
  T* const rows = all_rows + simt::warp() * warp_rows * depth;
  const int lane = simt::lane();
  for (int first = 0; first < block.rows; first += attention_warps * warp_rows) {
    const int own = first + simt::warp() * warp_rows;  // the first row of this warp
    T z[warp_rows] = {};
    for (int unit = 0; unit < d.width; unit += attention_units) {
      T sums[warp_rows][2] = {};
      for (int k = 0; k < d.hidden; k += depth) {
        __syncthreads();  // the previous tiles have been read
        const bool inside = k + lane < d.hidden;
        REFRAIN_UNROLL
        for (int i = 0; i < warp_rows; ++i) {
          const int row = own + i;
          const bool valid = inside && row < block.rows;
          rows[i * depth + lane] =
              valid ? tensors.chunk.at(block.step(row), block.sequence(row), d)[k + lane] : T{0};
        }
        for (int a = simt::warp(); a < attention_units; a += attention_warps) {
          const bool valid = inside && unit + a < d.width;
          weights[a * (depth + 1) + lane] =
              valid ? tensors.weight[std::int64_t{unit + a} * d.hidden + k + lane] : T{0};
        }
        __syncthreads();
        REFRAIN_UNROLL
        for (int at = 0; at < depth; at += pack) {
          T c[warp_rows][pack];
          REFRAIN_UNROLL
          for (int i = 0; i < warp_rows; ++i) simt::load_group(rows + i * depth + at, c[i]);
          REFRAIN_UNROLL
          for (int e = 0; e < pack; ++e) {
            const T low = weights[lane * (depth + 1) + at + e];
            const T high = weights[(lane + 32) * (depth + 1) + at + e];
            REFRAIN_UNROLL
            for (int i = 0; i < warp_rows; ++i) {
              sums[i][0] += low * c[i][e];
              sums[i][1] += high * c[i][e];
            }
          }
        }
      }
      REFRAIN_UNROLL
      for (int i = 0; i < warp_rows; ++i) {
        const int row = own + i;
        if (row >= block.rows) break;
        const std::int64_t b = block.sequence(row);
        REFRAIN_UNROLL
        for (int half = 0; half < 2; ++half) {
          const int a = unit + lane + 32 * half;
          if (a >= d.width) continue;
          const T s = std::tanh(sums[i][half] + tensors.query[b * d.width + a]);
          if (tensors.tanh != nullptr)
            tensors.tanh[(block.step(row) * d.batch + b) * d.width + a] = s;
          z[i] += tensors.score[a] * s;
        }
      }
    }
    REFRAIN_UNROLL
    for (int i = 0; i < warp_rows; ++i) {
      const T total = simt::warp_sum(z[i]);
      if (lane == 0 && own + i < block.rows) scores[block.score(own + i)] = total;
    }
  }
  __syncthreads();
  for (int q = simt::warp(); q < block.count; q += attention_warps) {
    warp_softmax(scores + q * d.length, scores + q * d.length, d.length, T{1});
    if (tensors.alpha == nullptr) continue;
    for (int j = lane; j < d.length; j += 32)
      tensors.alpha[j * d.batch + block.first + q] = scores[q * d.length + j];
  }
  __syncthreads();
  for (int q = 0; q < block.count; ++q) {
    const std::int64_t b = block.first + q;
    for (int h = static_cast<int>(threadIdx.x); h < d.hidden; h += attention_threads) {
      T sum = 0;
      for (int j = 0; j < d.length; ++j)
        sum += scores[q * d.length + j] * tensors.chunk.at(j, b, d)[h];
      tensors.out[b * d.hidden + h] = sum;
    }
  }
}

// ---- backward ----

template <class T>
struct AttentionBackwardTensors {
  ChunkRows<const T> chunk;
  const T* weight;
  const T* score;
  const T* alpha;
  const T* tanh;
  const T* dout;
  ChunkRows<T> dchunk;
  T* dquery;  ///< or null
  T* ds;      ///< [l B,A] for dweight, or null
  T* dz;      ///< [l B] for dscore, or null
};

/// Bytes of shared memory of chunk_attention_rows.
template <class T>
constexpr std::size_t attention_backward_bytes(std::int64_t length, int sequences) {
  return simt::piece_bytes<T>(attention_back_rows * attention_units) +
         simt::piece_bytes<T>(length * sequences);
}

/// The gradients of single sequences: a block takes up to `sequences` of them. dz: a warp per row,
/// then per sequence; dquery: a thread per sequence and unit; dc: a thread per column for 8 rows,
/// ds in shared memory, the weight read along its rows.
template <class T>
__global__ void __launch_bounds__(attention_threads, 2)
    chunk_attention_rows(AttentionBackwardTensors<T> tensors, AttentionDims d, int sequences) {
  constexpr int tile = attention_back_rows;
  constexpr int units = attention_units;
  constexpr int pack = simt::Pack<T>::count;
  const AttentionBlock block(d, sequences);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = simt::lane();
  simt::SharedCarver carver;
  T* const ds_tile = carver.take<T>(tile * units);     // [tile,units]
  T* const dz = carver.take<T>(d.length * sequences);  // [count,l] dalpha, then dz
  for (int row = simt::warp(); row < block.rows; row += attention_warps) {
    const std::int64_t b = block.sequence(row);
    const T* const c = tensors.chunk.at(block.step(row), b, d);
    T sum = 0;
    for (int h = lane; h < d.hidden; h += 32) sum += tensors.dout[b * d.hidden + h] * c[h];
    sum = simt::warp_sum(sum);
    if (lane == 0) dz[block.score(row)] = sum;
  }
  __syncthreads();
  for (int q = simt::warp(); q < block.count; q += attention_warps) {
    const std::int64_t b = block.first + q;
    T mean = 0;
    for (int j = lane; j < d.length; j += 32)
      mean += tensors.alpha[j * d.batch + b] * dz[q * d.length + j];
    mean = simt::warp_sum(mean);
    for (int j = lane; j < d.length; j += 32) {
      const T value = tensors.alpha[j * d.batch + b] * (dz[q * d.length + j] - mean);
      dz[q * d.length + j] = value;
      if (tensors.dz != nullptr) tensors.dz[j * d.batch + b] = value;
    }
  }
  __syncthreads();
  const auto gradient = [&](int row, int a) {  // ds
    const T s = tensors.tanh[(block.step(row) * d.batch + block.sequence(row)) * d.width + a];
    return dz[block.score(row)] * tensors.score[a] * (T{1} - s * s);
  };
  if (tensors.dquery != nullptr) {
    for (int q = 0; q < block.count; ++q) {
      for (int a = thread; a < d.width; a += attention_threads) {
        T sum = 0;
        for (int j = 0; j < d.length; ++j) sum += gradient(j * block.count + q, a);
        tensors.dquery[(block.first + q) * d.width + a] = sum;
      }
    }
  }
  if (tensors.ds != nullptr) {
    for (int row = simt::warp(); row < block.rows; row += attention_warps) {
      T* const to = tensors.ds + (block.step(row) * d.batch + block.sequence(row)) * d.width;
      for (int a = lane; a < d.width; a += 32) to[a] = gradient(row, a);
    }
  }
  if (tensors.dchunk.first == nullptr && tensors.dchunk.rest == nullptr) return;  // the whole block
  for (int first = 0; first < block.rows; first += tile) {
    for (int left = 0; left < d.hidden; left += attention_threads) {
      const int h = left + thread;
      T sums[tile] = {};
      for (int unit = 0; unit < d.width; unit += units) {
        __syncthreads();  // the previous tile has been read
        for (int p = thread; p < tile * units; p += attention_threads) {
          const int row = first + p / units;
          const int a = unit + p % units;
          ds_tile[p] = row < block.rows && a < d.width ? gradient(row, a) : T{0};
        }
        __syncthreads();
        if (h >= d.hidden) continue;
        const int count = d.width - unit < units ? d.width - unit : units;
        for (int at = 0; at < count; at += pack) {
          T weights[pack];
          REFRAIN_UNROLL
          for (int e = 0; e < pack; ++e) {
            weights[e] =
                at + e < count ? tensors.weight[std::int64_t{unit + at + e} * d.hidden + h] : T{0};
          }
          REFRAIN_UNROLL
          for (int i = 0; i < tile; ++i) {
            T ds[pack];
            simt::load_group(ds_tile + i * units + at, ds);
            REFRAIN_UNROLL
            for (int e = 0; e < pack; ++e) sums[i] += ds[e] * weights[e];
          }
        }
      }
      if (h >= d.hidden) continue;
      REFRAIN_UNROLL
      for (int i = 0; i < tile; ++i) {
        const int row = first + i;
        if (row >= block.rows) break;
        const int j = block.step(row);
        const std::int64_t b = block.sequence(row);
        T* const to = tensors.dchunk.at(j, b, d);
        if (to != nullptr)
          to[h] = tensors.alpha[j * d.batch + b] * tensors.dout[b * d.hidden + h] + sums[i];
      }
    }
  }
}

/// parts [parts,A,H]: sums of ds^T c over a part of the rows. A block computes a tile of 64 units
/// by 64 columns, a thread 4 by 4; rows pass through shared memory 16 at a time.
template <class T>
__global__ void __launch_bounds__(attention_threads, 2)
    chunk_attention_weights(ChunkRows<const T> chunk, const T* ds, T* parts, AttentionDims d,
                            std::int64_t rows_per_chunk) {
  constexpr int side = attention_outer_side;
  constexpr int depth = attention_outer_depth;
  REFRAIN_SHARED_ARRAY(T, left, depth * side);   // [depth,side] of ds
  REFRAIN_SHARED_ARRAY(T, right, depth * side);  // [depth,side] of c
  const int thread = static_cast<int>(threadIdx.x);
  const int across = (d.hidden + side - 1) / side;
  const int unit = static_cast<int>(blockIdx.x) / across * side;
  const int column = static_cast<int>(blockIdx.x) % across * side;
  const std::int64_t rows = d.batch * d.length;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * rows_per_chunk;
  const std::int64_t end = begin + rows_per_chunk < rows ? begin + rows_per_chunk : rows;
  const int a = 4 * (thread / 16);
  const int h = 4 * (thread % 16);
  T sums[4][4] = {};
  for (std::int64_t first = begin; first < end; first += depth) {
    for (int p = thread; p < depth * side; p += attention_threads) {
      const std::int64_t row = first + p / side;
      const int at = p % side;
      const bool valid = row < end;
      const T* const c = !valid          ? nullptr
                         : row < d.batch ? chunk.first + row * d.hidden
                                         : chunk.rest + (row - d.batch) * d.hidden;
      left[p] = valid && unit + at < d.width ? ds[row * d.width + unit + at] : T{0};
      right[p] = valid && column + at < d.hidden ? c[column + at] : T{0};
    }
    __syncthreads();
    REFRAIN_UNROLL
    for (int k = 0; k < depth; ++k) {
      T x[4];
      T y[4];
      REFRAIN_UNROLL
      for (int i = 0; i < 4; ++i) {
        x[i] = left[k * side + a + i];
        y[i] = right[k * side + h + i];
      }
      REFRAIN_UNROLL
      for (int i = 0; i < 4; ++i) {
        REFRAIN_UNROLL
        for (int j = 0; j < 4; ++j) sums[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }
  T* const to = parts + static_cast<std::int64_t>(blockIdx.y) * d.width * d.hidden;
  REFRAIN_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (unit + a + i >= d.width) break;
    REFRAIN_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (column + h + j < d.hidden)
        to[std::int64_t{unit + a + i} * d.hidden + column + h + j] = sums[i][j];
    }
  }
}

/// Terms of dscore for sum_columns.
template <class T>
struct ScoreTerms {
  using Element = T;
  static constexpr int sums = 1;
  const T* dz;
  const T* tanh;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column, T (&terms)[1]) const {
    terms[0] = dz[row] * tanh[row * width + column];
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
