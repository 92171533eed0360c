// What the tensor-core kernels of attention are made of (attention_mma.h). A block of four warps works on 64
// rows of one head, each warp on 16 of them; the rows they are paired with pass through shared memory in tiles
// of 64, and each tile falls into four chunks of 16: a chunk of rows against a chunk of the tile, 16 × 16
// pairs of a query and a key, is the unit of everything below. A head size is padded with zeros to D.
//
// A chunk that a warp's queries do not see at all is skipped. In one that they see in part, the diagonal one,
// the hidden pairs get the weight 0, which hides every number but NaN and infinity; hence `add_visible`.
#pragma once

#include <limits>

#include "engine/accumulator.h"
#include "engine/mma.h"
#include "ops/attention_kernel.h"

namespace ld::attention_mma {

inline constexpr unsigned all_lanes = 0xffffffffu;
inline constexpr int warps = 4, chunk = 16, tile = 64, threads = 32 * warps;

/// Elements between the rows of a tile: an odd multiple of 16 bytes (engine/mma.h).
template <int D>
constexpr int stride = D + 8;
template <int D>
constexpr int tile_elements = tile* stride<D>;

/// The lane's place in a fragment: rows g and g + 8, columns 2t and 2t + 1.
struct Lane {
  int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  int g = lane / 4, t = lane % 4;
};

/// 16 × 16 numbers: columns 0–7 and 8–15.
struct Square {
  FragmentC half[2];
};
/// f(half, i, row, column) for the lane's eight elements half[…].x[i].
template <class F>
__device__ void for_each_element(const Lane& at, F f) {
  UNROLL_FRAGMENTS
  for (int n = 0; n < 2; ++n) UNROLL_FRAGMENTS
  for (int i = 0; i < 4; ++i) f(n, i, at.g + i / 2 * 8, 8 * n + 2 * at.t + i % 2);
}
__device__ inline FragmentA as_left_factor(const Square& s) { return as_left_factor(s.half[0], s.half[1]); }

/// The sum of what the four lanes that share a row bring.
__device__ inline float quad_sum(float mine) {
  mine += __shfl_xor_sync(all_lanes, mine, 1);
  return mine + __shfl_xor_sync(all_lanes, mine, 2);
}
__device__ inline float quad_max(float mine) {
  mine = fmaxf(mine, __shfl_xor_sync(all_lanes, mine, 1));
  return fmaxf(mine, __shfl_xor_sync(all_lanes, mine, 2));
}

/// 2ˣ, to 2 ulp; 0 below 2⁻¹²⁶. One instruction.
__device__ inline float exp2_fast(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// Which 64 rows of which head a block works on. Blocks lie in one dimension of the grid, the only one without
/// a small limit. Positions in a sequence are ints: an address is computed from them once per row, but they
/// are compared pair by pair.
struct Rows {
  int64_t b, h;
  int T, first;
  /// `from_last`: the last rows of a head, which see the most keys, come first, so that no long block is left
  /// at the end.
  __device__ Rows(const AttentionSizes& s, bool from_last) : T(static_cast<int>(s.T)) {
    const int tiles = (T + tile - 1) / tile, head = static_cast<int>(blockIdx.x) / tiles,
              i = static_cast<int>(blockIdx.x) % tiles;
    b = head / static_cast<int>(s.H);
    h = head % static_cast<int>(s.H);
    first = (from_last ? tiles - 1 - i : i) * tile;
  }
};

/// to (64, D) in shared memory = rows first … of `from`, `step` elements apart; zero beyond row T and column
/// s.D. Only multiples of 8 columns can be read 16 bytes at a time.
template <int D>
__device__ void load_tile(bfloat16* to, const bfloat16* from, int64_t step, int first,
                          const AttentionSizes& s) {
  const int columns = static_cast<int>(s.D);
  constexpr int pieces = D / 8;
  UNROLL_FRAGMENTS
  for (int i = static_cast<int>(threadIdx.x); i < tile * pieces; i += threads) {
    const int row = i / pieces, column = i % pieces * 8;
    uint4 piece = make_uint4(0, 0, 0, 0);
    if (first + row < static_cast<int>(s.T) && column < columns) {
      const bfloat16* source = from + static_cast<int64_t>(first + row) * step + column;
      if (columns % 8 == 0) {
        piece = *reinterpret_cast<const uint4*>(source);
      } else {
        uint32_t x[8];
        UNROLL_FRAGMENTS
        for (int c = 0; c < 8; ++c) x[c] = column + c < columns ? source[c].bits : 0u;
        piece = make_uint4(x[0] | x[1] << 16, x[2] | x[3] << 16, x[4] | x[5] << 16, x[6] | x[7] << 16);
      }
    }
    *reinterpret_cast<uint4*>(to + row * stride<D> + column) = piece;
  }
}

/// The left factor (16, D) of a product: kept in registers, or read again whenever it is needed, where
/// registers are short.
template <int D>
struct InRegisters {
  FragmentA part[D / 16];
  __device__ explicit InRegisters(const bfloat16* rows) {
    UNROLL_FRAGMENTS
    for (int k = 0; k < D / 16; ++k) part[k] = load_left_factor(rows + 16 * k, stride<D>);
  }
  __device__ FragmentA operator[](int k) const { return part[k]; }
};
template <int D>
struct InShared {
  const bfloat16* rows;
  __device__ explicit InShared(const bfloat16* rows) : rows(rows) {}
  __device__ FragmentA operator[](int k) const { return load_left_factor(rows + 16 * k, stride<D>); }
};

/// left (16, D) · rowsᵀ (D, 16): the scores of a chunk.
template <int D, class Left>
__device__ Square scores(const Left& left, const bfloat16* rows) {
  Square s{};
  UNROLL_FRAGMENTS
  for (int k = 0; k < D / 16; ++k) {
    const FragmentB2 right = load_transposed_right_factor(rows + 16 * k, stride<D>);
    const FragmentA part = left[k];
    mma_m16n8k16(s.half[0], part, right.half[0], s.half[0]);
    mma_m16n8k16(s.half[1], part, right.half[1], s.half[1]);
  }
  return s;
}

/// (16, D) of sums.
template <int D>
struct Sums {
  FragmentC part[D / 8] = {};

  /// += weights (16, 16) · rows (16, D).
  __device__ void add(const FragmentA& weights, const bfloat16* rows) {
    UNROLL_FRAGMENTS
    for (int n = 0; n < D / 16; ++n) {
      const FragmentB2 right = load_right_factor(rows + 16 * n, stride<D>);
      mma_m16n8k16(part[2 * n], weights, right.half[0], part[2 * n]);
      mma_m16n8k16(part[2 * n + 1], weights, right.half[1], part[2 * n + 1]);
    }
  }
  /// The same of the pairs for which sees(row of weights, row of `rows`): the others' weights are 0, but what
  /// they would multiply may be anything.
  template <class Sees>
  __device__ void add_visible(const FragmentA& weights, const bfloat16* rows, Sees sees);

  /// out[index + column] += factor · the sums of row g (half 0) or g + 8 (half 1), to a row of the tensor.
  __device__ void add_row(Accumulator<bfloat16> out, int64_t index, int half, float factor, int columns,
                          const Lane& at) const {
    UNROLL_FRAGMENTS
    for (int n = 0; n < D / 8; ++n) {
      const int c = 8 * n + 2 * at.t;
      add_pair(out, index + c, columns - c, factor * part[n].x[2 * half], factor * part[n].x[2 * half + 1]);
    }
  }

 private:
  /// out.add of two neighbours, or of the first if there is `room` for one only; by one access where it can
  /// be.
  __device__ static void add_pair(Accumulator<bfloat16> out, int64_t i, int room, float low, float high) {
    if (room >= 2 && i % 2 == 0) {
      auto* to = reinterpret_cast<uint32_t*>(out.data + i);
      if (!out.empty) {
        const uint32_t before = *to;
        low += low_half(before);
        high += high_half(before);
      }
      *to = pack_bfloat16(low, high);
    } else {
      if (room >= 1) out.add(i, low);
      if (room >= 2) out.add(i + 1, high);
    }
  }
};

__device__ inline bool has_nonfinite(uint32_t pair) {
  return (pair & 0x7f80u) == 0x7f80u || (pair & 0x7f800000u) == 0x7f800000u;
}

/// c += a·b of the visible pairs alone, by shuffles: for the rare b that is not finite.
template <class Sees>
__device__ __attribute__((noinline)) FragmentC add_product_by_shuffles(FragmentC c, FragmentA a, FragmentB b,
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
        if (sees(row, k)) c.x[i] += low_half(weight[i / 2]) * low_half(value[i % 2]);
        if (sees(row, k + 1)) c.x[i] += high_half(weight[i / 2]) * high_half(value[i % 2]);
      }
    }
  return c;
}

template <int D>
template <class Sees>
__device__ void Sums<D>::add_visible(const FragmentA& weights, const bfloat16* rows, Sees sees) {
  UNROLL_FRAGMENTS
  for (int n = 0; n < D / 16; ++n) {
    const FragmentB2 right = load_right_factor(rows + 16 * n, stride<D>);
    UNROLL_FRAGMENTS
    for (int half = 0; half < 2; ++half) {
      const FragmentB& b = right.half[half];
      FragmentC& sum = part[2 * n + half];
      if (__any_sync(all_lanes, has_nonfinite(b.x[0]) || has_nonfinite(b.x[1])))
        sum = add_product_by_shuffles(sum, weights, b, sees);
      else
        mma_m16n8k16(sum, weights, b, sum);
    }
  }
}

/// What dropout keeps of a chunk of 16 queries × 16 keys.
class Kept {
 public:
  /// Each lane draws for eight keys of one query: two blocks of the generator, if they are aligned to it.
  __device__ Kept(const AttentionSizes& s, const Rows& at, int first_query, int first_key, int lane) {
    const int query = first_query + lane / 2, key = first_key + lane % 2 * 8;
    const int64_t first = (at.h * s.T + query) * s.T + key;
    const auto rate = static_cast<float>(s.dropout_rate);
    uint32_t bits = 0;
    for (int part = 0; part < 8; part += 4) {
      if (first % 4 == 0) {
        const Philox4 block = s.key.block(at.b, (first + part) / 4);
        UNROLL_FRAGMENTS
        for (int i = 0; i < 4; ++i) bits |= uint32_t{NoiseKey::unit(block.word[i]) >= rate} << (part + i);
      } else {
        for (int i = part; i < part + 4; ++i) bits |= uint32_t{s.key.uniform(at.b, first + i) >= rate} << i;
      }
    }
    bits <<= lane % 2 * 8;
    bits_ = bits | __shfl_xor_sync(all_lanes, bits, 1);
  }
  /// Bit k: whether the weight of key k is kept. All lanes ask at the same time, each for a query of its own.
  __device__ uint32_t of_query(int query) const { return __shfl_sync(all_lanes, bits_, 2 * query); }

 private:
  uint32_t bits_;  // of query lane / 2
};

}  // namespace ld::attention_mma
