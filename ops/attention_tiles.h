// What the GPU's kernels of attention are made of (attention_flash.h), but for the products (attention_products.h).
// A block of four warps works on 64 rows of one head, each warp on 16 of them; the rows they are paired with
// pass through shared memory in tiles of 64, and each tile falls into four chunks of 16: a chunk of rows
// against a chunk of the tile, 16 × 16 pairs of a query and a key, is the unit of everything below. A head
// size is padded with zeros to D.
//
// A chunk that a warp's queries do not see at all is skipped. In one that they see in part, the diagonal one,
// the hidden pairs get the weight 0, which hides every number but NaN and infinity; hence `add_visible`.
#pragma once

#include "engine/accumulator.h"
#include "engine/mma.h"
#include "ops/attention_kernel.h"

namespace ld::attention_flash {

inline constexpr unsigned all_lanes = 0xffffffffu;
inline constexpr int warps = 4, chunk = 16, tile = 64, threads = 32 * warps;

/// 16 bytes, the most that one instruction loads.
template <class T>
struct alignas(16) Piece {
  static constexpr int size = 16 / sizeof(T);
  T x[size];
};
template <class T>
__device__ Piece<T>& piece_at(T* p) {
  return *reinterpret_cast<Piece<T>*>(p);
}
template <class T>
__device__ const Piece<T>& piece_at(const T* p) {
  return *reinterpret_cast<const Piece<T>*>(p);
}

/// Elements between rows in shared memory: an odd number of pieces, which keeps bank conflicts away
/// (engine/mma.h).
template <class T, int D>
constexpr int stride = D + Piece<T>::size;
template <class T, int D>
constexpr int tile_elements = tile* stride<T, D>;

/// The lane's place in a fragment: rows g and g + 8, columns 2t and 2t + 1.
struct Lane {
  int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  int g = lane / 4, t = lane % 4;
};

/// 16 × 16 numbers: columns 0–7 and 8–15.
template <class A>
struct Square {
  Fragment<A> half[2];
};
/// f(half, i, row, column) for the lane's eight elements half[…].x[i].
template <class F>
__device__ void for_each_element(const Lane& at, F f) {
  UNROLL_FRAGMENTS
  for (int n = 0; n < 2; ++n) UNROLL_FRAGMENTS
  for (int i = 0; i < 4; ++i) f(n, i, at.g + i / 2 * 8, 8 * n + 2 * at.t + i % 2);
}

/// The larger one, or the other one if one is NaN, unlike `larger` (engine/kernel_shapes_gpu.h).
__device__ inline float max_ignoring_nan(float a, float b) { return fmaxf(a, b); }
__device__ inline double max_ignoring_nan(double a, double b) { return fmax(a, b); }

/// The sum of what the four lanes that share a row bring.
template <class A>
__device__ A quad_sum(A mine) {
  mine += __shfl_xor_sync(all_lanes, mine, 1);
  return mine + __shfl_xor_sync(all_lanes, mine, 2);
}
template <class A>
__device__ A quad_max(A mine) {
  mine = max_ignoring_nan(mine, __shfl_xor_sync(all_lanes, mine, 1));
  return max_ignoring_nan(mine, __shfl_xor_sync(all_lanes, mine, 2));
}

/// 2ˣ; in float32 one instruction, to 2 ulp, and 0 below 2⁻¹²⁶.
__device__ inline float power_of_2(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
__device__ inline double power_of_2(double x) { return ::exp2(x); }

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
/// s.D. Only head sizes of whole pieces can be read piece by piece.
template <int D, class T>
__device__ void load_tile(T* to, const T* from, int64_t step, int first, const AttentionSizes& s) {
  const int rows = static_cast<int>(s.T) - first, columns = static_cast<int>(s.D);
  constexpr int size = Piece<T>::size, pieces = D / size;
  UNROLL_FRAGMENTS
  for (int i = static_cast<int>(threadIdx.x); i < tile * pieces; i += threads) {
    const int row = i / pieces, column = i % pieces * size;
    const T* const source = from + static_cast<int64_t>(first + row) * step + column;
    Piece<T> piece{};
    if (row < rows && columns % size == 0) {
      if (column < columns) piece = piece_at(source);
    } else if (row < rows) {
      UNROLL_FRAGMENTS
      for (int c = 0; c < size; ++c)
        if (column + c < columns) piece.x[c] = source[c];
    }
    piece_at(to + row * stride<T, D> + column) = piece;
  }
}

/// out.add of two neighbours, or of the first if there is `room` for one only.
template <class T>
__device__ void add_pair(Accumulator<T> out, int64_t i, int room, acc_t<T> first, acc_t<T> second) {
  if (room >= 1) out.add(i, first);
  if (room >= 2) out.add(i + 1, second);
}
/// By one access where it can be.
__device__ inline void add_pair(Accumulator<bfloat16> out, int64_t i, int room, float first, float second) {
  if (room < 2 || i % 2 != 0) return add_pair<bfloat16>(out, i, room, first, second);
  auto* to = reinterpret_cast<uint32_t*>(out.data + i);
  if (!out.empty) {
    const uint32_t before = *to;
    first += low_half(before);
    second += high_half(before);
  }
  *to = pack_bfloat16(first, second);
}

/// What dropout keeps of a chunk of 16 queries × 16 keys.
class Kept {
 public:
  /// Each lane draws for eight keys of one query: two blocks of the generator, if they are aligned to it.
  /// s.key has been resolved (engine/random.h), or every block would read its place from memory again.
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

}  // namespace ld::attention_flash
