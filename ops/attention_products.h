// The two products of attention for a chunk of 16 × 16 pairs, by a warp:
//   scores<D>(left, rows) = left · rowsᵀ     of (16, D) rows that the warp holds and (16, D) in shared memory
//   sums.add(weights, rows)                   sums (16, D) += weights (16, 16) · rows (16, D)
// bfloat16 by tensor cores; float32 and float64, which those cannot multiply at full precision, by multiply-adds
// out of shared memory, each lane for the elements that it would hold of a tensor core's result.
#pragma once

#include <type_traits>

#include "ops/attention_tiles.h"

namespace ld::attention_flash {

template <class T>
constexpr bool on_tensor_cores = std::is_same_v<T, bfloat16>;

// ---- Left factors: 16 of the block's own rows ---------------------------------------------------

/// Kept in registers.
template <int D>
struct InRegisters {
  FragmentA part[D / 16];
  __device__ explicit InRegisters(const bfloat16* rows) {
    UNROLL_FRAGMENTS
    for (int k = 0; k < D / 16; ++k) part[k] = load_left_factor(rows + 16 * k, stride<bfloat16, D>);
  }
  __device__ FragmentA operator[](int k) const { return part[k]; }
};
/// Read from shared memory whenever they are needed.
template <class T, int D>
struct InShared {
  const T* rows;
  __device__ explicit InShared(const T* rows) : rows(rows) {}
  __device__ FragmentA operator[](int k) const { return load_left_factor(rows + 16 * k, stride<T, D>); }
};

// ---- Scores -------------------------------------------------------------------------------------

template <int D, class Left>
__device__ Square<float> scores(const Left& left, const bfloat16* rows) {
  Square<float> s{};
  UNROLL_FRAGMENTS
  for (int k = 0; k < D / 16; ++k) {
    const FragmentB2 right = load_transposed_right_factor(rows + 16 * k, stride<bfloat16, D>);
    const FragmentA part = left[k];
    mma_m16n8k16(s.half[0], part, right.half[0], s.half[0]);
    mma_m16n8k16(s.half[1], part, right.half[1], s.half[1]);
  }
  return s;
}

template <int D, class T>
requires(!on_tensor_cores<T>) __device__ Square<T> scores(const InShared<T, D>& left, const T* rows) {
  const Lane at;
  const T* const left_rows = left.rows + at.g * stride<T, D>;
  const T* const right_rows = rows + 2 * at.t * stride<T, D>;
  Square<T> s{};
  for (int k = 0; k < D; k += Piece<T>::size) {
    const Piece<T> a[2] = {piece_at(left_rows + k), piece_at(left_rows + 8 * stride<T, D> + k)};
    UNROLL_FRAGMENTS
    for (int column = 0; column < 4; ++column) {  // 2t, 2t + 1, 2t + 8, 2t + 9
      const Piece<T> b = piece_at(right_rows + (column / 2 * 8 + column % 2) * stride<T, D> + k);
      UNROLL_FRAGMENTS
      for (int r = 0; r < 2; ++r) UNROLL_FRAGMENTS
      for (int e = 0; e < Piece<T>::size; ++e) s.half[column / 2].x[2 * r + column % 2] += a[r].x[e] * b.x[e];
    }
  }
  return s;
}

// ---- Weights: a square as a left factor ---------------------------------------------------------

/// In shared memory, 16 × 16.
template <class T>
struct PlainWeights {
  static constexpr int step = stride<T, chunk>, elements = chunk * step;
  const T* rows;
};

/// `room` is the warp's for the weights in hand; tensor cores need none.
__device__ inline FragmentA as_weights(const Square<float>& s, bfloat16*, const Lane&) {
  return as_left_factor(s.half[0], s.half[1]);
}
template <class T>
__device__ PlainWeights<T> as_weights(const Square<T>& s, T* room, const Lane& at) {
  __syncwarp();  // the weights before are no longer read
  for_each_element(at, [&](int n, int i, int row, int column) {
    room[row * PlainWeights<T>::step + column] = s.half[n].x[i];
  });
  __syncwarp();
  return {room};
}

/// Of the bfloat16 in the lower half.
__device__ inline bool is_finite(uint32_t number) { return (number & 0x7f80u) != 0x7f80u; }
/// Two bfloat16, with 0 in place of what is not finite.
__device__ inline uint32_t finite_part(uint32_t pair) {
  return (is_finite(pair) ? pair & 0xffffu : 0) | (is_finite(pair >> 16) ? pair & 0xffff0000u : 0);
}

/// c + a·b of the visible pairs whose number of b is not finite, by shuffles. It is rare, and not inlined, or it
/// would be most of the code.
template <class Sees>
__device__ __attribute__((noinline)) FragmentC add_nonfinite_products(FragmentC c, FragmentA a, FragmentB b,
                                                                      Sees sees) {
  const Lane at;
  UNROLL_FRAGMENTS
  for (int upper = 0; upper < 2; ++upper)
    for (int source = 0; source < 4; ++source) {
      const int row_lane = 4 * at.g + source, column_lane = 8 * at.t + source;
      const uint32_t weight[2] = {__shfl_sync(all_lanes, a.x[2 * upper], row_lane),
                                  __shfl_sync(all_lanes, a.x[2 * upper + 1], row_lane)};
      const uint32_t value[2] = {__shfl_sync(all_lanes, b.x[upper], column_lane),
                                 __shfl_sync(all_lanes, b.x[upper], column_lane + 4)};
      UNROLL_FRAGMENTS
      for (int i = 0; i < 4; ++i) {
        const int row = at.g + i / 2 * 8, k = 8 * upper + 2 * source;
        const uint32_t w = weight[i / 2], x = value[i % 2];
        if (!is_finite(x) && sees(row, k)) c.x[i] += low_half(w) * low_half(x);
        if (!is_finite(x >> 16) && sees(row, k + 1)) c.x[i] += high_half(w) * high_half(x);
      }
    }
  return c;
}

// ---- Sums ---------------------------------------------------------------------------------------

/// (16, D) of them.
template <class A, int D>
struct Sums {
  Fragment<A> part[D / 8] = {};

  __device__ void add(const FragmentA& weights, const bfloat16* rows) {
    UNROLL_FRAGMENTS
    for (int n = 0; n < D / 16; ++n) {
      const FragmentB2 right = load_right_factor(rows + 16 * n, stride<bfloat16, D>);
      mma_m16n8k16(part[2 * n], weights, right.half[0], part[2 * n]);
      mma_m16n8k16(part[2 * n + 1], weights, right.half[1], part[2 * n + 1]);
    }
  }
  __device__ void add(const PlainWeights<A>& weights, const A* rows) {
    add_visible(weights, rows, [](int, int) { return true; });
  }

  /// The same of the pairs for which sees(row of weights, row of `rows`): the others' weights are 0, but what
  /// they would multiply may be anything. Tensor cores get 0 where it is not finite, and the rows that see it are
  /// given it afterwards: the others keep every bit, being summed in the same way as ever.
  template <class Sees>
  __device__ void add_visible(const FragmentA& weights, const bfloat16* rows, Sees sees) {
    UNROLL_FRAGMENTS
    for (int n = 0; n < D / 16; ++n) {
      const FragmentB2 right = load_right_factor(rows + 16 * n, stride<bfloat16, D>);
      UNROLL_FRAGMENTS
      for (int half = 0; half < 2; ++half) {
        const FragmentB& b = right.half[half];
        const FragmentB finite{{finite_part(b.x[0]), finite_part(b.x[1])}};
        FragmentC& sum = part[2 * n + half];
        mma_m16n8k16(sum, weights, finite, sum);
        if (__any_sync(all_lanes, finite.x[0] != b.x[0] || finite.x[1] != b.x[1]))
          sum = add_nonfinite_products(sum, weights, b, sees);
      }
    }
  }
  template <class Sees>
  __device__ void add_visible(const PlainWeights<A>& weights, const A* rows, Sees sees) {
    const Lane at;
    for (int k0 = 0; k0 < chunk; k0 += Piece<A>::size) {
      const A* const w = weights.rows + at.g * PlainWeights<A>::step + k0;
      const Piece<A> weight[2] = {piece_at(w), piece_at(w + 8 * PlainWeights<A>::step)};
      UNROLL_FRAGMENTS
      for (int e = 0; e < Piece<A>::size; ++e) {
        const bool seen[2] = {sees(at.g, k0 + e), sees(at.g + 8, k0 + e)};
        const A* const row = rows + (k0 + e) * stride<A, D> + 2 * at.t;
        UNROLL_FRAGMENTS
        for (int n = 0; n < D / 8; ++n) UNROLL_FRAGMENTS
        for (int i = 0; i < 4; ++i)
          if (seen[i / 2]) part[n].x[i] += weight[i / 2].x[e] * row[8 * n + i % 2];
      }
    }
  }

  /// out[index + column] += factor · the sums of row g (half 0) or g + 8 (half 1), to a row of the tensor.
  template <class T>
  __device__ void add_row(Accumulator<T> out, int64_t index, int half, A factor, int columns,
                          const Lane& at) const {
    UNROLL_FRAGMENTS
    for (int n = 0; n < D / 8; ++n) {
      const int c = 8 * n + 2 * at.t;
      add_pair(out, index + c, columns - c, factor * part[n].x[2 * half], factor * part[n].x[2 * half + 1]);
    }
  }
};

// ---- Where a block keeps what it multiplies ------------------------------------------------------

/// A block's shared memory: tiles for two streams of rows, then, unless they fit into registers (then they only
/// pass through), the block's own rows, then where each warp lays its weights.
template <class T, int D>
struct SharedTiles {
  static constexpr int weights_of_warp = on_tensor_cores<T> ? 0 : PlainWeights<T>::elements;
  T *first, *second, *own_first, *own_second, *weights;

  __device__ SharedTiles(T* memory, int own_tiles, int warp)
      : first(memory),
        second(first + tile_elements<T, D>),
        own_first(own_tiles > 0 ? second + tile_elements<T, D> : first),
        own_second(own_tiles > 0 ? own_first + tile_elements<T, D> : second),
        weights(memory + (2 + own_tiles) * tile_elements<T, D> + warp * weights_of_warp) {}
  /// Both streams' tiles that begin at row `row`, once no warp reads the last ones any more. A barrier must
  /// follow.
  __device__ void load_next(const T* first_rows, int64_t first_step, const T* second_rows,
                            int64_t second_step, int row, const AttentionSizes& s) const {
    __syncthreads();
    load_tile<D>(first, first_rows, first_step, row, s);
    load_tile<D>(second, second_rows, second_step, row, s);
  }
  static constexpr size_t bytes(int own_tiles) {
    return ((2 + own_tiles) * tile_elements<T, D> + warps * weights_of_warp) * sizeof(T);
  }
};

/// How a block holds its own rows in the loops over keys, and in the one over queries, where tensor cores have
/// registers for both factors beside both sums up to head size 64.
template <class T, int D>
using QueryRows = std::conditional_t<on_tensor_cores<T>, InRegisters<D>, InShared<T, D>>;
template <class T, int D>
using KeyRows = std::conditional_t<on_tensor_cores<T> && D <= 64, InRegisters<D>, InShared<T, D>>;
/// Tiles of shared memory for `factors` such.
template <class T, int D, class Factor>
constexpr int own_tiles(int factors) {
  return std::is_same_v<Factor, InShared<T, D>> ? factors : 0;
}

}  // namespace ld::attention_flash
