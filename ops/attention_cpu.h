// Attention on the CPU: a thread takes one (sample, head) after another, and of it one block of query rows
// after another, as many rows as a SIMD vector has lanes. Scores of a block are stored key by key, the
// block's queries in the lanes: softmax then needs no sum across a vector, and no length leaves a remainder.
// Every product is a loop over keys that multiplies one vector by numbers broadcast from memory, its sums in
// registers (GCC's vector extension: any width compiles on any processor).
//
// Of the keys of a block's own rows (the diagonal tile) a query sees only those up to itself. There the loops
// visit the visible pairs alone, for a weight of 0 does not hide a NaN or an infinity: 0 · NaN is NaN.
#pragma once

#include <omp.h>

#include <cmath>
#include <limits>
#include <utility>

#include "engine/accumulator.h"
#include "engine/kernel_shapes.h"
#include "engine/math.h"
#include "ops/attention_kernel.h"

namespace ld {
namespace attention_cpu {

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(64), aligned(sizeof(T))));
};
template <class T>
using vector_t = typename Vector<T>::type;
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
int64_t padded(int64_t n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

/// eˣ for x ≤ 0, or NaN: 2ⁿ·eʳ with n = x/ln 2 rounded and |r| ≤ ½ln 2, eʳ the polynomial of Moshier's Cephes
/// library. At most 2 ulp from the exact value; below −87, where it would no longer be a normal number, 0.
/// Inline and without the special cases of a library's function, which cost as much as the products around
/// it.
inline vector_t<float> exp_of_nonpositive(vector_t<float> x) {
  typedef uint32_t Bits __attribute__((vector_size(64)));
  const float shift = 0x1.8p23f;  // adding it rounds to an integer, and leaves that in the lowest bits
  const vector_t<float> shifted = x * 1.44269504f + shift, n = shifted - shift;
  const vector_t<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  vector_t<float> e = r * 1.9875691500e-4f + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * r * r + r + 1.0f;
  const vector_t<float> power = (vector_t<float>)(((Bits)shifted << 23) + (127u << 23));
  return x < -87.0f ? vector_t<float>{} : e * power;
}
inline vector_t<double> exp_of_nonpositive(vector_t<double> x) {
  for (int64_t r = 0; r < lanes<double>; ++r) x[r] = math::exp(x[r]);
  return x;
}

/// s[j][·] = Σ_d rows[j][d] · columns[d][·] for j < n, a multiple of the lanes: the scores of a block.
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

/// out[r][:] = Σ_j w[j][r] · rows[j][:] over the keys j that row first + r sees: one row per query.
template <class T>
void sum_over_keys(T* out, const T* w, const T* rows, int64_t first, int64_t Dp) {
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
    vector_t<T> sum[lanes<T>] = {};
    for (int64_t j = 0; j < first; ++j) {
      const vector_t<T> row = vector_at(rows + j * Dp + d);
#pragma GCC unroll 16
      for (int64_t r = 0; r < lanes<T>; ++r) sum[r] += w[j * lanes<T> + r] * row;
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) {
      for (int64_t j = first; j <= first + r; ++j)
        sum[r] += w[j * lanes<T> + r] * vector_at(rows + j * Dp + d);
      vector_at(out + r * Dp + d) = sum[r];
    }
  }
}

/// out[j][:] += Σ_r w[j][r] · rows[r][:] over the queries first + r that see key j: one row per key.
template <class T>
void add_over_queries(T* out, const T* w, const T* rows, int64_t first, int64_t Dp) {
  for (int64_t d = 0; d < Dp; d += lanes<T>) {
    vector_t<T> row[lanes<T>];
#pragma GCC unroll 16
    for (int64_t r = 0; r < lanes<T>; ++r) row[r] = vector_at(rows + r * Dp + d);
    for (int64_t j = 0; j < first; ++j) {
      vector_t<T> even = vector_at(out + j * Dp + d), odd = {};
#pragma GCC unroll 8
      for (int64_t r = 0; r < lanes<T>; r += 2) {
        even += w[j * lanes<T> + r] * row[r];
        odd += w[j * lanes<T> + r + 1] * row[r + 1];
      }
      vector_at(out + j * Dp + d) = even + odd;
    }
#pragma GCC unroll 16
    for (int64_t u = 0; u < lanes<T>; ++u) {
      const int64_t j = first + u;
      vector_t<T> sum = vector_at(out + j * Dp + d);
#pragma GCC unroll 16
      for (int64_t r = u; r < lanes<T>; ++r) sum += w[j * lanes<T> + r] * row[r];
      vector_at(out + j * Dp + d) = sum;
    }
  }
}

/// The memory one thread works in, cut from a piece of `size(s)` numbers. Rows are Dp = D rounded up to whole
/// vectors wide, zero beyond D; there are Tp = T rounded up to whole blocks of them, zero beyond T.
template <class T>
struct Scratch {
  int64_t Tp, Dp;
  T *k, *v, *dk, *dv;          // (Tp, Dp): of the head at hand
  T *p, *ds, *kept;            // (Tp, lanes): of the block at hand, like everything below
  T *q, *dy, *out;             // (lanes, Dp); q times 1/√D
  T *q_columns, *dy_columns;   // (Dp, lanes)
  T *largest, *total, *delta;  // (lanes)

  Scratch(T* memory, const AttentionSizes& s) : Tp(padded<T>(s.T)), Dp(padded<T>(s.D)) {
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    for (T** m : {&k, &v, &dk, &dv}) *m = take(Tp * Dp);
    for (T** m : {&p, &ds, &kept}) *m = take(Tp * lanes<T>);
    for (T** m : {&q, &dy, &out, &q_columns, &dy_columns}) *m = take(Dp * lanes<T>);
    for (T** m : {&largest, &total, &delta}) *m = take(lanes<T>);
  }
  static int64_t size(const AttentionSizes& s) {
    return padded<T>(s.T) * (4 * padded<T>(s.D) + 3 * lanes<T>)+(5 * padded<T>(s.D) + 3) * lanes<T>;
  }
};

/// to[t][d] = factor · from[t · stride + d] for t < rows and d < D, zero in the rest of (all, Dp).
template <class T, class S>
void load_rows(T* to, const S* from, int64_t stride, int64_t rows, int64_t all, int64_t D, int64_t Dp,
               T factor = T(1)) {
  for (int64_t t = 0; t < rows; ++t) {
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) to[t * Dp + d] = static_cast<T>(from[t * stride + d]) * factor;
    for (int64_t d = D; d < Dp; ++d) to[t * Dp + d] = T(0);
  }
  std::fill(to + rows * Dp, to + all * Dp, T(0));
}

/// columns (D, lanes) = the transpose of rows (lanes, Dp).
template <class T>
void transpose(T* columns, const T* rows, int64_t D, int64_t Dp) {
  for (int64_t d = 0; d < D; ++d) {
#pragma omp simd
    for (int64_t r = 0; r < lanes<T>; ++r) columns[d * lanes<T> + r] = rows[r * Dp + d];
  }
}

/// A (sample, head) of the tensors, whose elements are S.
template <class S>
struct Head {
  const AttentionSizes& s;
  int64_t b, h;
  const S* qkv;

  const S* q(int64_t t) const { return qkv + s.qkv(b, t, h); }
  int64_t stride() const { return 3 * s.C(); }

  template <class T>
  void load_keys(Scratch<T>& m) const {
    load_rows(m.k, q(0) + s.C(), stride(), s.T, m.Tp, s.D, m.Dp);
    load_rows(m.v, q(0) + 2 * s.C(), stride(), s.T, m.Tp, s.D, m.Dp);
  }
  /// The scores of the block that begins with row `first`, into m.p.
  template <class T>
  void scores(Scratch<T>& m, int64_t first) const {
    load_rows(m.q, q(first), stride(), std::min(lanes<T>, s.T - first), lanes<T>, s.D, m.Dp,
              T(1) / std::sqrt(static_cast<T>(s.D)));
    transpose(m.q_columns, m.q, s.D, m.Dp);
    dot_products(m.p, m.k, m.q_columns, first + lanes<T>, s.D, m.Dp);
  }
};

/// m.p from scores to e^(score − largest), 0 where hidden; m.largest and m.total of each query.
template <class T>
void exponentials(Scratch<T>& m, int64_t first) {
  const int64_t n = first + lanes<T>;
  for (int64_t j = first; j < n; ++j)
    std::fill_n(m.p + j * lanes<T>, j - first, -std::numeric_limits<T>::infinity());
  vector_t<T> largest = vector_at(m.p), total = {};
  for (int64_t j = 1; j < n; ++j) {
    const vector_t<T> score = vector_at(m.p + j * lanes<T>);
    largest = score > largest ? score : largest;
  }
  vector_at(m.largest) = largest;
  for (int64_t j = 0; j < n; ++j) {
    vector_t<T>& p = vector_at(m.p + j * lanes<T>);
    p = exp_of_nonpositive(p - largest);
    total += p;
  }
  vector_at(m.total) = total;
}

/// m.kept[j][r] = what dropout multiplies the weight of key j for query first + r by. A query's numbers are
/// consecutive (see uniform_line), so they are drawn row by row and stored across.
template <class T>
void draw_kept(Scratch<T>& m, const AttentionSizes& s, int64_t b, int64_t h, int64_t first) {
  const auto rate = static_cast<float>(s.dropout_rate);
  const T factor = static_cast<T>(1.0 / (1.0 - s.dropout_rate));
  for (int64_t r = 0; r < lanes<T>; ++r) {
    const float* u = uniform_line(s.key, b, (h * s.T + first + r) * s.T, first + lanes<T>);
    for (int64_t j = 0; j < first + lanes<T>; ++j) m.kept[j * lanes<T> + r] = u[j] >= rate ? factor : T(0);
  }
}

template <class T, class S>
void head_forward(S* y, T* log_sum, Scratch<T>& m, const Head<S>& head) {
  const AttentionSizes& s = head.s;
  head.load_keys(m);
  for (int64_t first = 0; first < s.T; first += lanes<T>) {
    head.scores(m, first);
    exponentials(m, first);
    if (s.dropout_rate > 0) {
      draw_kept(m, s, head.b, head.h, first);
      for (int64_t j = 0; j < first + lanes<T>; ++j)
        vector_at(m.p + j * lanes<T>) *= vector_at(m.kept + j * lanes<T>);
    }
    sum_over_keys(m.out, m.p, m.v, first, m.Dp);
    for (int64_t r = 0; r < std::min(lanes<T>, s.T - first); ++r) {
      const T inverse = T(1) / m.total[r];
      S* to = y + s.out(head.b, first + r, head.h);
#pragma omp simd
      for (int64_t d = 0; d < s.D; ++d) to[d] = static_cast<S>(m.out[r * m.Dp + d] * inverse);
      log_sum[s.row(head.b, first + r, head.h)] = m.largest[r] + math::log(m.total[r]);
    }
  }
}

/// m.p from scores to P̃, m.ds from dy · v to dS. Hidden pairs hold anything.
template <class T>
void score_gradients(Scratch<T>& m, const AttentionSizes& s, int64_t b, int64_t h, int64_t first) {
  const bool drops = s.dropout_rate > 0;
  if (drops) draw_kept(m, s, b, h, first);
  const vector_t<T> log_sum = vector_at(m.total), delta = vector_at(m.delta);
  for (int64_t j = 0; j < first + lanes<T>; ++j) {
    vector_t<T>&p = vector_at(m.p + j * lanes<T>), &ds = vector_at(m.ds + j * lanes<T>);
    p = exp_of_nonpositive(p - log_sum);
    if (!drops) {
      ds = p * (ds - delta);
    } else {
      const vector_t<T> kept = vector_at(m.kept + j * lanes<T>);
      ds = p * (kept * ds - delta);
      p *= kept;
    }
  }
}

template <class T, class S>
void head_backward(Accumulator<S> dqkv, const S* dy, const S* y, const T* log_sum, Scratch<T>& m,
                   const Head<S>& head) {
  const AttentionSizes& s = head.s;
  const T factor = T(1) / std::sqrt(static_cast<T>(s.D));
  head.load_keys(m);
  std::fill_n(m.dk, m.Tp * m.Dp, T(0));
  std::fill_n(m.dv, m.Tp * m.Dp, T(0));
  for (int64_t first = 0; first < s.T; first += lanes<T>) {
    const int64_t rows = std::min(lanes<T>, s.T - first), at = s.out(head.b, first, head.h);
    head.scores(m, first);
    load_rows(m.dy, dy + at, s.C(), rows, lanes<T>, s.D, m.Dp);
    load_rows(m.out, y + at, s.C(), rows, lanes<T>, s.D, m.Dp);
    transpose(m.dy_columns, m.dy, s.D, m.Dp);
    dot_products(m.ds, m.v, m.dy_columns, first + lanes<T>, s.D, m.Dp);
    for (int64_t r = 0; r < lanes<T>; ++r) {
      // A query beyond the last: all its weights are e^−∞ = 0.
      m.total[r] = r < rows ? log_sum[s.row(head.b, first + r, head.h)] : std::numeric_limits<T>::infinity();
      T delta = 0;
#pragma omp simd reduction(+ : delta)
      for (int64_t d = 0; d < m.Dp; ++d) delta += m.dy[r * m.Dp + d] * m.out[r * m.Dp + d];
      m.delta[r] = delta;
    }
    score_gradients(m, s, head.b, head.h, first);
    sum_over_keys(m.out, m.ds, m.k, first, m.Dp);
    add_over_queries(m.dk, m.ds, m.q, first, m.Dp);
    add_over_queries(m.dv, m.p, m.dy, first, m.Dp);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t q = s.qkv(head.b, first + r, head.h);
#pragma omp simd
      for (int64_t d = 0; d < s.D; ++d) dqkv.add(q + d, m.out[r * m.Dp + d] * factor);
    }
  }
  for (int64_t t = 0; t < s.T; ++t) {
    const int64_t k = s.qkv(head.b, t, head.h) + s.C(), v = k + s.C();
#pragma omp simd
    for (int64_t d = 0; d < s.D; ++d) {
      dqkv.add(k + d, m.dk[t * m.Dp + d]);  // q was loaded with the factor 1/√D
      dqkv.add(v + d, m.dv[t * m.Dp + d]);
    }
  }
}

/// work(scratch, head) for every (sample, head), by all threads if there is so much to do that it pays.
template <class S, class Work>
void for_each_head(const S* qkv, const AttentionSizes& s, Work work) {
  using T = acc_t<S>;
  const int threads = s.B * s.H * s.T * s.T * s.D > 65536 ? omp_get_max_threads() : 1;
  MemoryScope scope(MemoryUse::workspace);
  Tensor memory({threads, Scratch<T>::size(s)}, dtype_of<T>());
#pragma omp parallel num_threads(threads)
  {
    Scratch<T> scratch(memory.data<T>() + omp_get_thread_num() * Scratch<T>::size(s), s);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s.B * s.H; ++i) work(scratch, Head<S>{s, i / s.H, i % s.H, qkv});
  }
}

}  // namespace attention_cpu

// S is what the tensors hold; the work is done in its accumulation type.
template <class S>
void attention_forward(S* y, acc_t<S>* log_sum, const S* qkv, const AttentionSizes& s) {
  attention_cpu::for_each_head(qkv, s, [=](auto& scratch, const auto& head) {
    attention_cpu::head_forward(y, log_sum, scratch, head);
  });
}

template <class S>
void attention_backward(Accumulator<S> dqkv, const S* dy, const S* y, const acc_t<S>* log_sum, const S* qkv,
                        const AttentionSizes& s) {
  attention_cpu::for_each_head(qkv, s, [=](auto& scratch, const auto& head) {
    attention_cpu::head_backward(dqkv, dy, y, log_sum, scratch, head);
  });
}

}  // namespace ld
