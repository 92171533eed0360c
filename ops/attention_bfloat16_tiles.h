// The shapes in which attention by tiles of bfloat16 (attention_cpu_bfloat16.h) keeps its matrices.
//
// A product takes the columns of its left side, and the rows of its right side, two at a time, so each matrix is kept
// in the shapes that its products ask for:
//
//   rows       (T, words)        as they come, D or 32 keys wide: the left side, or a right side yet to be turned
//   columns    (words, 16)       the transpose of 16 such rows: the right side
//   transposed (D, T / 2 words)  the left side of sums over tokens
//   pairs      (T / 2, 16)       the right side of sums over tokens: a line is 16 columns of two rows
//
// The 16 rows of a square on the diagonal see only a part of its 16 columns. The other part has weight 0, and that does
// not hide a NaN or an infinity: 0 · NaN is NaN. So numbers that are not finite stay out of the products that sum over
// tokens, and are added to these sums afterwards, for the rows that see them. There are none in a sane run.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/dtype.h"
#include "engine/tile_unit.h"
#include "ops/attention_cpu_tiles.h"
#include "ops/attention_kernel.h"

#ifdef LD_TILE_UNIT

namespace ld::attention_cpu {

static_assert(tile == lanes<float>, "a line of a tile is a vector of floats");

typedef uint16_t Half __attribute__((may_alias));

inline Halves& halves_at(Word* p) { return *reinterpret_cast<Halves*>(p); }
inline const Halves& halves_at(const Word* p) { return *reinterpret_cast<const Halves*>(p); }
inline Half& half_at(Word* row, int64_t column) { return reinterpret_cast<Half*>(row)[column]; }

/// Bits of bfloat16 as floats.
inline Floats widened(const Halves& bits) {
  return reinterpret_cast<Floats>(__builtin_convertvector(bits, Words) << 16);
}
/// One of the two rows in a line of pairs: 0 is the even one.
inline Floats row_of_pairs(const Word* line, int64_t which) {
  const Words words = vector_at(line);
  return reinterpret_cast<Floats>(which == 0 ? words << 16 : words & 0xffff0000);
}

/// How large the matrices of a head are.
struct TileSizes {
  int64_t Tp, Dp;  // T rounded up to 32, the tokens that a tile sums over; D rounded up to 16
  int64_t depth;   // words in a row, whole tiles of them

  explicit TileSizes(const AttentionSizes& s)
      : Tp((s.T + 31) / 32 * 32), Dp((s.D + 15) / 16 * 16), depth((s.D + 31) / 32 * 16) {}
};

/// The numbers of a matrix that are not finite, by tokens that have some: `rows` are Dp long, 0 for the other numbers.
struct NotFinite {
  std::vector<int64_t> tokens;  // ascending
  std::vector<float> rows;

  const float* row(size_t i, const TileSizes& n) const { return rows.data() + i * static_cast<size_t>(n.Dp); }
};

/// rows (Tp, depth) = those of a head; what is beyond T and D stays. Returns the numbers that are not finite.
inline NotFinite load_rows(Word* rows, const bfloat16* from, int64_t stride, const AttentionSizes& s,
                           const TileSizes& n) {
  Halves largest = {};
  for (int64_t t = 0; t < s.T; ++t) {
    const Half* source = reinterpret_cast<const Half*>(from + t * stride);
    Word* row = rows + t * n.depth;
    int64_t d = 0;
    for (; d + tile <= s.D; d += tile) {
      const Halves numbers = *reinterpret_cast<const Halves*>(source + d), sizes = numbers & 0x7fff;
      halves_at(row + d / 2) = numbers;
      largest = sizes > largest ? sizes : largest;
    }
    for (; d < s.D; ++d) {
      half_at(row, d) = source[d];
      largest[0] = std::max<uint16_t>(largest[0], source[d] & 0x7fff);
    }
  }
  NotFinite result;
  bool finite = true;
  for (int64_t i = 0; i < tile; ++i) finite &= largest[i] < 0x7f80;
  if (finite) return result;
  for (int64_t t = 0; t < s.T; ++t) {
    std::vector<float> row(static_cast<size_t>(n.Dp));
    for (int64_t d = 0; d < s.D; ++d) {
      const float x = from[t * stride + d];
      if (!std::isfinite(x)) row[static_cast<size_t>(d)] = x;
    }
    if (std::all_of(row.begin(), row.end(), [](float x) { return x == 0; })) continue;
    result.tokens.push_back(t);
    result.rows.insert(result.rows.end(), row.begin(), row.end());
  }
  return result;
}

/// clear(t, d) for every number that is not finite.
template <class Clear>
void for_each_not_finite(const NotFinite& numbers, const TileSizes& n, Clear clear) {
  for (size_t i = 0; i < numbers.tokens.size(); ++i)
    for (int64_t d = 0; d < n.Dp; ++d)
      if (numbers.row(i, n)[d] != 0) clear(numbers.tokens[i], d);
}

/// transposed (Dp, Tp) = that of rows, without the numbers that are not finite. `columns` is room to work in.
inline void transpose_rows(Word* transposed, const Word* rows, Word* columns, const TileSizes& n,
                           const NotFinite& without) {
  for (int64_t t = 0; t < n.Tp; t += tile) {
    transpose(columns, rows + t * n.depth, n.depth);
    for (int64_t d = 0; d < n.Dp; d += 2) {
      const Words line = vector_at(columns + d / 2 * tile);
      halves_at(transposed + (d * n.Tp + t) / 2) = __builtin_convertvector(line & 0xffff, Halves);
      halves_at(transposed + ((d + 1) * n.Tp + t) / 2) = __builtin_convertvector(line >> 16, Halves);
    }
  }
  for_each_not_finite(without, n, [&](int64_t t, int64_t d) { half_at(transposed + d * n.Tp / 2, t) = 0; });
}

/// pairs (Dp / 16, Tp / 2, 16) = those of rows, 16 columns after another, without the numbers that are not finite.
inline void pair_rows(Word* pairs, const Word* rows, const TileSizes& n, const NotFinite& without) {
  auto line = [&](int64_t t, int64_t d) { return pairs + (d / tile * n.Tp / 2 + t / 2) * tile; };
  for (int64_t d = 0; d < n.Dp; d += tile)
    for (int64_t t = 0; t < n.Tp; t += 2) {
      const Halves &even = halves_at(rows + t * n.depth + d / 2),
                   &odd = halves_at(rows + (t + 1) * n.depth + d / 2);
      vector_at(line(t, d)) = __builtin_convertvector(even, Words) | __builtin_convertvector(odd, Words)
                                                                         << 16;
    }
  for_each_not_finite(without, n,
                      [&](int64_t t, int64_t d) { half_at(line(t, d), d % tile * 2 + t % 2) = 0; });
}

/// The first n numbers from p on, and zeros if there are less than 16.
inline Floats load_row(const bfloat16* p, int64_t n) {
  Halves numbers = {};
  if (n >= tile)
    numbers = *reinterpret_cast<const Halves*>(p);
  else
    std::memcpy(&numbers, p, static_cast<size_t>(n) * sizeof *p);
  return widened(numbers);
}

/// The first n of the row from p on, 16 at most, rounded.
inline void store_row(bfloat16* p, const Floats& row, int64_t n) {
  const Halves numbers = rounded(row);
  if (n >= tile)
    *reinterpret_cast<Halves*>(p) = numbers;
  else
    std::memcpy(static_cast<void*>(p), &numbers, static_cast<size_t>(n) * sizeof *p);
}

/// store(r, d, 16 numbers from column d of row r) for every row r < `rows` of the transpose of columns (D, 16).
template <class Store>
void for_each_turned_row(const float* columns, int64_t D, int64_t rows, Store store) {
  for (int64_t d = 0; d < D; d += tile) {
    float square[tile * tile];
    transpose(square, columns + d * tile, tile);
    for (int64_t r = 0; r < rows; ++r) store(r, d, vector_at(square + r * tile));
  }
}

}  // namespace ld::attention_cpu

#endif
