// Attention on the CPU: one thread per (sample, head), blocks of query rows against vectors of keys. All
// inner loops are over SIMD vectors held in registers (GCC's vector extension: any width compiles on any
// processor). A (sample, head) works in its own small buffers: keys and values transposed or padded to whole
// vectors, and one block of rows of P. Everything stays in the second-level cache.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "engine/accumulator.h"
#include "engine/math.h"
#include "ops/attention_kernel.h"

namespace ld {
namespace attention_cpu {

inline constexpr int64_t block_rows =
    8;  // query rows worked on together: enough sums to hide a product's latency

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(64), aligned(sizeof(T))));
  static constexpr int64_t size = 64 / sizeof(T);
};
template <class T>
using vector_t = typename Vector<T>::type;

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
  return (n + Vector<T>::size - 1) / Vector<T>::size * Vector<T>::size;
}

/// s[r][j] = Σ_d rows[r][d] · columns[d][j] for j < n: `block_rows` rows against n (padded) columns.
template <class T>
void times_columns(T* s, const T* rows, const T* columns, int64_t n, int64_t D, int64_t Dp, int64_t Tp) {
  for (int64_t j = 0; j < n; j += Vector<T>::size) {
    vector_t<T> sum[block_rows] = {};
    for (int64_t d = 0; d < D; ++d) {
      vector_t<T> column = vector_at(columns + d * Tp + j);
#pragma GCC unroll 8
      for (int64_t r = 0; r < block_rows; ++r) sum[r] += rows[r * Dp + d] * column;
    }
    for (int64_t r = 0; r < block_rows; ++r) vector_at(s + r * Tp + j) = sum[r];
  }
}

/// out[r][:] += Σ_{j < n} p[r][j] · rows[j][:], rows of Dp elements.
template <class T>
void times_rows(T* out, const T* p, const T* rows, int64_t n, int64_t Dp, int64_t Tp) {
  for (int64_t d = 0; d < Dp; d += Vector<T>::size) {
    vector_t<T> sum[block_rows];
    for (int64_t r = 0; r < block_rows; ++r) sum[r] = vector_at(out + r * Dp + d);
    for (int64_t j = 0; j < n; ++j) {
      vector_t<T> row = vector_at(rows + j * Dp + d);
#pragma GCC unroll 8
      for (int64_t r = 0; r < block_rows; ++r) sum[r] += p[r * Tp + j] * row;
    }
    for (int64_t r = 0; r < block_rows; ++r) vector_at(out + r * Dp + d) = sum[r];
  }
}

/// out[j][:] += Σ_r p[r][j] · rows[r][:] for j < n.
template <class T>
void transposed_times_rows(T* out, const T* p, const T* rows, int64_t n, int64_t Dp, int64_t Tp) {
  for (int64_t d = 0; d < Dp; d += Vector<T>::size) {
    vector_t<T> row[block_rows];
    for (int64_t r = 0; r < block_rows; ++r) row[r] = vector_at(rows + r * Dp + d);
    for (int64_t j = 0; j < n; ++j) {
      vector_t<T> sum = vector_at(out + j * Dp + d);
#pragma GCC unroll 8
      for (int64_t r = 0; r < block_rows; ++r) sum += p[r * Tp + j] * row[r];
      vector_at(out + j * Dp + d) = sum;
    }
  }
}

/// One (sample, head): its part of qkv in the layouts the products want, and room for one block of rows.
template <class T>
struct Head {
  int64_t T_, D, Dp, Tp;
  std::vector<T> q, k, v;               // (T rounded up to whole blocks, Dp), zero-padded; q times 1/√D
  std::vector<T> k_columns, v_columns;  // (D, Tp)
  std::vector<T> p, dp;                 // (block_rows, Tp)

  explicit Head(const AttentionSizes& s)
      : T_(s.T), D(s.D), Dp(padded<T>(s.D)), Tp(padded<T>(s.T + block_rows)) {
    for (auto* m : {&q, &k, &v}) m->assign(static_cast<size_t>(Tp * Dp), T(0));
    for (auto* m : {&k_columns, &v_columns}) m->assign(static_cast<size_t>(D * Tp), T(0));
    for (auto* m : {&p, &dp}) m->assign(static_cast<size_t>(block_rows * Tp), T(0));
  }

  template <class S>
  void load(const S* qkv, const AttentionSizes& s, int64_t b, int64_t h) {
    const T factor = T(1) / std::sqrt(static_cast<T>(D));
    for (int64_t t = 0; t < T_; ++t) {
      const S *from = qkv + s.qkv(b, t, h), *kt = from + s.C(), *vt = kt + s.C();
      T *q_row = &q[t * Dp], *k_row = &k[t * Dp], *v_row = &v[t * Dp];
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) {
        q_row[d] = static_cast<T>(from[d]) * factor;
        k_row[d] = static_cast<T>(kt[d]);
        v_row[d] = static_cast<T>(vt[d]);
      }
    }
    for (int64_t d = 0; d < D; ++d) {
      T *k_line = &k_columns[d * Tp], *v_line = &v_columns[d * Tp];
#pragma omp simd
      for (int64_t t = 0; t < T_; ++t) {
        k_line[t] = k[t * Dp + d];
        v_line[t] = v[t * Dp + d];
      }
    }
  }
};

template <class T>
void zero(std::vector<T>& v) {
  std::fill(v.begin(), v.end(), T(0));
}

/// Copies a row between a head's buffers (T) and a tensor in memory (S).
template <class To, class From>
void convert_row(To* to, const From* from, int64_t n) {
  for (int64_t d = 0; d < n; ++d) to[d] = static_cast<To>(from[d]);
}

template <class T, class S>
void head_forward(S* y, T* log_sum, Head<T>& head, const AttentionSizes& s, int64_t b, int64_t h,
                  std::vector<T>& out) {
  const int64_t Dp = head.Dp, Tp = head.Tp;
  for (int64_t i0 = 0; i0 < s.T; i0 += block_rows) {
    const int64_t rows = std::min(block_rows, s.T - i0), n = i0 + rows;
    times_columns(head.p.data(), &head.q[i0 * Dp], head.k_columns.data(), n, s.D, Dp, Tp);
    for (int64_t r = 0; r < rows; ++r) {
      T* p = &head.p[r * Tp];
      const int64_t i = i0 + r, visible = i + 1, whole = padded<T>(visible);
      std::fill(p + visible, p + std::max(n, whole),
                -std::numeric_limits<T>::infinity());  // e^−∞ = 0: causal
      T largest = p[0];
#pragma omp simd reduction(max : largest)
      for (int64_t j = 0; j < whole; ++j) largest = p[j] > largest ? p[j] : largest;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < whole; ++j) {
        p[j] = math::exp(p[j] - largest);
        total += p[j];
      }
      std::fill(p + whole, p + std::max(n, whole), T(0));
      const T inverse = T(1) / total;
      if (s.dropout_rate == 0) {
#pragma omp simd
        for (int64_t j = 0; j < whole; ++j) p[j] *= inverse;
      } else {
#pragma omp simd
        for (int64_t j = 0; j < visible; ++j) p[j] *= inverse * s.keep<T>(b, h, i, j);
      }
      log_sum[s.row(b, i, h)] = largest + math::log(total);
    }
    for (int64_t r = rows; r < block_rows; ++r) std::fill_n(&head.p[r * Tp], n, T(0));
    zero(out);
    times_rows(out.data(), head.p.data(), head.v.data(), n, Dp, Tp);
    for (int64_t r = 0; r < rows; ++r) convert_row(y + s.out(b, i0 + r, h), &out[r * Dp], s.D);
  }
}

/// Room for the gradients of one (sample, head).
template <class T>
struct HeadGradient {
  std::vector<T> dq, dk, dv;  // (Tp, Dp)
  std::vector<T> dy;          // (block_rows, Dp), zero-padded
  explicit HeadGradient(const Head<T>& head) {
    for (auto* m : {&dq, &dk, &dv}) m->resize(head.q.size());
    dy.assign(static_cast<size_t>(block_rows * head.Dp), T(0));
  }
};

template <class T, class S>
void head_backward(HeadGradient<T>& g, Head<T>& head, const S* dy, const S* y, const T* log_sum,
                   const AttentionSizes& s, int64_t b, int64_t h) {
  const int64_t Dp = head.Dp, Tp = head.Tp;
  for (auto* m : {&g.dq, &g.dk, &g.dv}) zero(*m);
  for (int64_t i0 = 0; i0 < s.T; i0 += block_rows) {
    const int64_t rows = std::min(block_rows, s.T - i0), n = i0 + rows;
    zero(g.dy);
    for (int64_t r = 0; r < rows; ++r) convert_row(&g.dy[r * Dp], dy + s.out(b, i0 + r, h), s.D);
    times_columns(head.p.data(), &head.q[i0 * Dp], head.k_columns.data(), n, s.D, Dp, Tp);
    times_columns(head.dp.data(), g.dy.data(), head.v_columns.data(), n, s.D, Dp, Tp);
    for (int64_t r = 0; r < block_rows; ++r) {
      T *p = &head.p[r * Tp], *dp = &head.dp[r * Tp];
      const int64_t i = i0 + r, visible = r < rows ? i + 1 : 0, whole = padded<T>(visible);
      std::fill(p + visible, p + std::max(n, whole), -std::numeric_limits<T>::infinity());
      if (visible > 0) {
        T delta = 0;
        for (int64_t d = 0; d < s.D; ++d) delta += g.dy[r * Dp + d] * static_cast<T>(y[s.out(b, i, h) + d]);
        const T log_total = log_sum[s.row(b, i, h)];
        if (s.dropout_rate == 0) {
#pragma omp simd
          for (int64_t j = 0; j < whole; ++j) {
            p[j] = math::exp(p[j] - log_total);
            dp[j] = p[j] * (dp[j] - delta);
          }
        } else {
#pragma omp simd
          for (int64_t j = 0; j < whole; ++j) {
            const T kept = s.keep<T>(b, h, i, j), probability = math::exp(p[j] - log_total);
            dp[j] = probability * (kept * dp[j] - delta);
            p[j] = kept * probability;
          }
        }
      }
      std::fill(p + whole, p + std::max(n, whole), T(0));
      std::fill(dp + whole, dp + std::max(n, whole), T(0));
    }
    times_rows(&g.dq[i0 * Dp], head.dp.data(), head.k.data(), n, Dp, Tp);
    transposed_times_rows(g.dk.data(), head.dp.data(), &head.q[i0 * Dp], n, Dp, Tp);
    transposed_times_rows(g.dv.data(), head.p.data(), g.dy.data(), n, Dp, Tp);
  }
}

/// Whether there is so much to do that more threads finish earlier.
inline bool worth_threads(const AttentionSizes& s) { return s.B * s.H * s.T * s.T * s.D > 65536; }

}  // namespace attention_cpu

// S is what the tensors hold; the work is done in its accumulation type.
template <class S>
void attention_forward(S* y, acc_t<S>* log_sum, const S* qkv, const AttentionSizes& s) {
  using namespace attention_cpu;
#pragma omp parallel if (worth_threads(s))
  {
    Head<acc_t<S>> head(s);
    std::vector<acc_t<S>> out(static_cast<size_t>(block_rows * head.Dp));
#pragma omp for schedule(static)
    for (int64_t bh = 0; bh < s.B * s.H; ++bh) {
      head.load(qkv, s, bh / s.H, bh % s.H);
      head_forward(y, log_sum, head, s, bh / s.H, bh % s.H, out);
    }
  }
}

template <class S>
void attention_backward(Accumulator<S> dqkv, const S* dy, const S* y, const acc_t<S>* log_sum, const S* qkv,
                        const AttentionSizes& s) {
  using T = acc_t<S>;
  using namespace attention_cpu;
#pragma omp parallel if (worth_threads(s))
  {
    Head<T> head(s);
    HeadGradient<T> g(head);
    const T factor = T(1) / std::sqrt(static_cast<T>(s.D));
#pragma omp for schedule(static)
    for (int64_t bh = 0; bh < s.B * s.H; ++bh) {
      const int64_t b = bh / s.H, h = bh % s.H;
      head.load(qkv, s, b, h);
      head_backward(g, head, dy, y, log_sum, s, b, h);
      for (int64_t t = 0; t < s.T; ++t) {
        const int64_t q = s.qkv(b, t, h), k = q + s.C(), v = k + s.C();
        const T *dq = &g.dq[t * head.Dp], *dk = &g.dk[t * head.Dp], *dv = &g.dv[t * head.Dp];
#pragma omp simd
        for (int64_t d = 0; d < s.D; ++d) {
          dqkv.add(q + d, dq[d] * factor);  // q was loaded with the factor in it,
          dqkv.add(k + d, dk[d]);           // which dk therefore has already
          dqkv.add(v + d, dv[d]);
        }
      }
    }
  }
}

}  // namespace ld
