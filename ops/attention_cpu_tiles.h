// What attention on the CPU is made of: products of a block of rows, as many as a SIMD vector has lanes, with
// the rows of the other side one after another. A number w[j][r] belongs to row j of those and to row r of the
// block, so a line of w is a vector. Every product is a loop over j that multiplies one vector by numbers
// broadcast from memory, its sums in registers (GCC's vector extension: any width compiles on any processor).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "engine/math.h"

namespace ld::attention_cpu {

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(64), aligned(sizeof(T))));
};
template <class T>
using vector_t = typename Vector<T>::type;
/// Integers as wide as T, as many as vector_t<T> has numbers.
template <class T>
struct Integers {
  typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> type __attribute__((vector_size(64)));
};
template <class T>
using lane_indices = typename Integers<T>::type;
/// Numbers in a vector, and query rows in a block.
template <class T>
constexpr int64_t lanes = 64 / sizeof(T);

template <class T>
vector_t<T>& vector_at(T* p) {
  return *reinterpret_cast<vector_t<T>*>(p);
}
template <class T>
const vector_t<T>& vector_at(const T* p) {
  return *reinterpret_cast<const vector_t<T>*>(p);
}

template <class T>
vector_t<T> filled(T value) {
  return vector_t<T>{} + value;
}

/// 0, 1, 2, …
template <class T>
vector_t<T> lane_numbers() {
  vector_t<T> numbers;
  for (int64_t r = 0; r < lanes<T>; ++r) numbers[r] = static_cast<T>(r);
  return numbers;
}

template <class T>
T sum_of_lanes(const vector_t<T>& x) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t r = 0; r < lanes<T>; ++r) sum += x[r];
  return sum;
}

/// As many small integers as a vector has lanes, as a vector. By way of integers of the same size: in one go it is slow.
template <class T>
vector_t<T> widened(const uint8_t* p) {
  typedef uint8_t Bytes __attribute__((vector_size(64 / sizeof(T))));
  Bytes bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, lane_indices<T>), vector_t<T>);
}

template <class T>
int64_t padded(int64_t n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

template <class T>
[[gnu::always_inline]] inline vector_t<T> exp_of_nonpositive(vector_t<T> x) {
#pragma omp simd
  for (int64_t r = 0; r < lanes<T>; ++r) x[r] = math::exp_of_nonpositive(x[r]);
  return x;
}

/// Lane by lane the largest of n lines of s, n a multiple of the lanes. (A NaN may get lost.)
template <class T>
vector_t<T> largest_line(const T* s, int64_t n) {
  constexpr int64_t together = 4;  // a maximum waits for the one before it
  vector_t<T> largest[together];
  for (int64_t u = 0; u < together; ++u) largest[u] = vector_at(s + u * lanes<T>);
  for (int64_t j = together; j < n; j += together) {
#pragma GCC unroll 4
    for (int64_t u = 0; u < together; ++u) {
      const vector_t<T> line = vector_at(s + (j + u) * lanes<T>);
      largest[u] = line > largest[u] ? line : largest[u];
    }
  }
  for (int64_t u = 1; u < together; ++u) largest[0] = largest[u] > largest[0] ? largest[u] : largest[0];
  return largest[0];
}

/// s[j][·] = Σ_d rows[j][d] · columns[d][·] for j < n, a multiple of the lanes.
template <class T>
void dot_products(T* s, const T* rows, const T* columns, int64_t n, int64_t D, int64_t Dp) {
  constexpr int64_t together = 8;  // enough sums to hide a product's latency
  for (int64_t j = 0; j < n; j += together) {
    vector_t<T> sum[together] = {};
    for (int64_t d = 0; d < D; ++d) {
      const vector_t<T> column = vector_at(columns + d * lanes<T>);
#pragma GCC unroll 8
      for (int64_t u = 0; u < together; ++u) sum[u] += rows[(j + u) * Dp + d] * column;
    }
    for (int64_t u = 0; u < together; ++u) vector_at(s + (j + u) * lanes<T>) = sum[u];
  }
}

/// out[r][:] += Σ_j w[j][r] · rows[j][:] over j < n: out (lanes, Dp) += wᵀ · rows.
template <class T>
void add_transposed_product(T* out, const T* w, const T* rows, int64_t n, int64_t Dp) {
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
    vector_t<T> sum[lanes<T>];
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) sum[r] = vector_at(out + r * Dp + d);
    for (int64_t j = 0; j < n; ++j) {
      const vector_t<T> row = vector_at(rows + j * Dp + d);
#pragma GCC unroll 16
      for (int64_t r = 0; r < lanes<T>; ++r) sum[r] += w[j * lanes<T> + r] * row;
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) vector_at(out + r * Dp + d) = sum[r];
  }
}

/// out[j][:] += Σ_r w[j][r] · rows[r][:] for j < n: out (n, Dp) += w · rows.
template <class T>
void add_product(T* out, const T* w, const T* rows, int64_t n, int64_t Dp) {
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
    vector_t<T> row[lanes<T>];
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) row[r] = vector_at(rows + r * Dp + d);
    for (int64_t j = 0; j < n; ++j) {
      vector_t<T> even = vector_at(out + j * Dp + d), odd = {};
#pragma GCC unroll 8
      for (int64_t r = 0; r < lanes<T>; r += 2) {
        even += w[j * lanes<T> + r] * row[r];
        odd += w[j * lanes<T> + r + 1] * row[r + 1];
      }
      vector_at(out + j * Dp + d) = even + odd;
    }
  }
}

/// Both with a tile of the diagonal, w (lanes, lanes): out += w · rows, or wᵀ · rows, where row i of out takes
/// only what lies up to, or from, row i of `rows`.
enum class Triangle { up_to_i, from_i };
template <Triangle part, bool transposed, class T>
void add_triangle(T* out, const T* w, const T* rows, int64_t Dp) {
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
#pragma GCC unroll 16
    for (int64_t i = 0; i < lanes<T>; ++i) {
      vector_t<T> sum = vector_at(out + i * Dp + d);
      const int64_t begin = part == Triangle::up_to_i ? 0 : i,
                    end = part == Triangle::up_to_i ? i + 1 : lanes<T>;
      for (int64_t j = begin; j < end; ++j)
        sum += w[transposed ? j * lanes<T> + i : i * lanes<T> + j] * vector_at(rows + j * Dp + d);
      vector_at(out + i * Dp + d) = sum;
    }
  }
}

/// to[t][d] = factor · from[t · stride + d] for t < rows and d < D; the rows of `to` are Dp apart.
template <class T, class S>
void load_rows(T* to, const S* from, int64_t stride, int64_t rows, int64_t D, int64_t Dp, T factor = T(1)) {
  for (int64_t t = 0; t < rows; ++t) {
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) to[t * Dp + d] = static_cast<T>(from[t * stride + d]) * factor;
  }
}

/// columns (Dp, lanes) = the transpose of rows (lanes, Dp). A square of vectors is transposed by log₂(lanes)
/// perfect shuffles: each deals the upper half of the vectors between the lower, which moves one bit of an
/// element's row number over into its column number.
template <class T>
void transpose(T* columns, const T* rows, int64_t Dp) {
  lane_indices<T> low, high;
  for (int64_t i = 0; i < lanes<T>; ++i) {
    low[i] = i / 2 + i % 2 * lanes<T>;
    high[i] = low[i] + lanes<T> / 2;
  }
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
    vector_t<T> from[lanes<T>], to[lanes<T>];
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) from[r] = vector_at(rows + r * Dp + d);
#pragma GCC unroll 4
    for (int64_t round = 1; round < lanes<T>; round *= 2) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < lanes<T> / 2; ++i) {
        to[2 * i] = __builtin_shuffle(from[i], from[i + lanes<T> / 2], low);
        to[2 * i + 1] = __builtin_shuffle(from[i], from[i + lanes<T> / 2], high);
      }
#pragma GCC unroll 16
      for (int64_t r = 0; r < lanes<T>; ++r) from[r] = to[r];
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) vector_at(columns + (d + r) * lanes<T>) = from[r];
  }
}

}  // namespace ld::attention_cpu
