// Attention on the CPU: a thread takes one (sample, head) after another. Forward works on one block of queries
// after another: their scores are stored key by key, the block's queries in the lanes, so softmax needs no sum
// across a vector, and no length leaves a remainder. Backward works on one block of keys after another, the
// keys in the lanes: the gradients of k and v then gather in registers, and only that of q is added up in
// memory. See attention_cpu_tiles.h for the products.
//
// Of the keys of its own block (the diagonal tile) a query sees only those up to itself. There the loops visit
// the visible pairs alone, for a weight of 0 does not hide a NaN or an infinity: 0 · NaN is NaN.
#pragma once

#include <omp.h>

#include <cmath>
#include <limits>
#include <utility>

#include "engine/accumulator.h"
#include "engine/kernel_shapes.h"
#include "engine/math.h"
#include "ops/attention_cpu_tiles.h"
#include "ops/attention_kernel.h"

namespace ld {
namespace attention_cpu {

/// A (sample, head) of the tensors, whose elements are S.
template <class S>
struct Head {
  const AttentionSizes& s;
  int64_t b, h;
  const S* qkv;

  const S* q(int64_t t) const { return qkv + s.qkv(b, t, h); }
  const S* k(int64_t t) const { return q(t) + s.C(); }
  const S* v(int64_t t) const { return k(t) + s.C(); }
  int64_t stride() const { return 3 * s.C(); }
};

/// The memory that one thread works in, cut into pieces one after another. Rows are Dp = D rounded up to whole
/// vectors wide, and there are Tp = T rounded up to whole blocks of them. q, k and v are zero beyond D and beyond T:
/// all is zero at first, and nobody writes there.
template <class T>
struct ForwardMemory {
  int64_t Tp, Dp;
  T *q, *k, *v;                  // (Tp, Dp): of the head at hand; q times 1/√D
  T* p;                          // (Tp, lanes): of the block at hand, like everything below
  T *noise, *noise_rows;         // (Tp, lanes), and its transpose (lanes, keys)
  T* out;                        // (lanes, Dp)
  T* q_columns;                  // (Dp, lanes)
  T *largest, *total, *log_sum;  // (lanes)

  ForwardMemory(T* memory, const AttentionSizes& s) : Tp(padded<T>(s.T)), Dp(padded<T>(s.D)) {
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    for (T** m : {&q, &k, &v}) *m = take(Tp * Dp);
    for (T** m : {&p, &noise, &noise_rows}) *m = take(Tp * lanes<T>);
    for (T** m : {&out, &q_columns}) *m = take(Dp * lanes<T>);
    for (T** m : {&largest, &total, &log_sum}) *m = take(lanes<T>);
  }
  /// q has the factor already.
  vector_t<T> scaled(const vector_t<T>& scores) const { return scores; }
  static int64_t size(const AttentionSizes& s) {
    return padded<T>(s.T) * (3 * padded<T>(s.D) + 3 * lanes<T>)+(2 * padded<T>(s.D) + 3) * lanes<T>;
  }
};

/// m.p from scores to e^(score − largest), 0 where hidden; m.largest, m.total and m.log_sum of each query.
/// Memory is ForwardMemory<T>, or TileForwardMemory, whose scores still want their factor.
template <class Memory>
void exponentials(Memory& m, int64_t first) {
  using T = std::remove_reference_t<decltype(*m.p)>;
  const int64_t n = first + lanes<T>;
  for (int64_t j = 0; j < lanes<T>; ++j) {
    vector_t<T>& score = vector_at(m.p + (first + j) * lanes<T>);
    score = lane_numbers<T>() < static_cast<T>(j) ? filled<T>(-std::numeric_limits<T>::infinity()) : score;
  }
  const vector_t<T> largest = m.scaled(largest_line(m.p, n));
  vector_t<T> total = {};
  vector_at(m.largest) = largest;
  for (int64_t j = 0; j < n; ++j) {
    vector_t<T>& p = vector_at(m.p + j * lanes<T>);
    p = exp_of_nonpositive<T>(m.scaled(p) - largest);
    total += p;
  }
  vector_at(m.total) = total;
#pragma omp simd
  for (int64_t r = 0; r < lanes<T>; ++r) m.log_sum[r] = m.largest[r] + math::log(m.total[r]);
}

/// Dropout: m.p times 0 or 1/(1 − rate). A query's noise is consecutive (see uniform_line), so it is drawn row by row,
/// and turned to lie as m.p does.
template <class Memory>
void drop(Memory& m, const AttentionSizes& s, int64_t b, int64_t h, int64_t first) {
  using T = std::remove_reference_t<decltype(*m.p)>;
  const int64_t keys = first + lanes<T>;
  for (int64_t r = 0; r < lanes<T>; ++r)
    std::copy_n(uniform_line(s.key, b, (h * s.T + first + r) * s.T, keys), keys, m.noise_rows + r * keys);
  transpose(m.noise, m.noise_rows, keys);
  const T rate = static_cast<float>(s.dropout_rate), factor = static_cast<T>(1.0 / (1.0 - s.dropout_rate));
  for (int64_t j = 0; j < keys; ++j) {
    vector_t<T>& p = vector_at(m.p + j * lanes<T>);
    p = vector_at(m.noise + j * lanes<T>) < rate ? vector_t<T>{} : p * factor;
  }
}

template <class T, class S>
void head_forward(S* y, T* log_sum, ForwardMemory<T>& m, const Head<S>& head) {
  const AttentionSizes& s = head.s;
  load_rows(m.q, head.q(0), head.stride(), s.T, s.D, m.Dp, T(1) / std::sqrt(static_cast<T>(s.D)));
  load_rows(m.k, head.k(0), head.stride(), s.T, s.D, m.Dp);
  load_rows(m.v, head.v(0), head.stride(), s.T, s.D, m.Dp);
  for (int64_t first = 0; first < s.T; first += lanes<T>) {
    const int64_t rows = std::min(lanes<T>, s.T - first), keys = first + lanes<T>;
    transpose(m.q_columns, m.q + first * m.Dp, m.Dp);
    dot_products(m.p, m.k, m.q_columns, keys, s.D, m.Dp);
    exponentials(m, first);
    if (s.dropout_rate > 0) drop(m, s, head.b, head.h, first);
    std::fill_n(m.out, lanes<T> * m.Dp, T(0));
    add_transposed_product(m.out, m.p, m.v, first, m.Dp);
    add_triangle<Triangle::up_to_i, true>(m.out, m.p + first * lanes<T>, m.v + first * m.Dp, m.Dp);
    for (int64_t r = 0; r < rows; ++r) {
      const T inverse = T(1) / m.total[r];
      S* to = y + s.out(head.b, first + r, head.h);
#pragma omp simd
      for (int64_t d = 0; d < s.D; ++d) to[d] = static_cast<S>(m.out[r * m.Dp + d] * inverse);
    }
    std::copy_n(m.log_sum, rows, log_sum + s.row(head.b, first, head.h));
  }
}

/// Like ForwardMemory; dy, too, is zero beyond D and T.
template <class T>
struct BackwardMemory {
  /// Queries worked on together: their p and ds stay in the first-level cache.
  static constexpr int64_t piece = 4 * lanes<T>;

  int64_t Tp, Dp;
  T *q, *k, *v, *dy, *dq;    // (Tp, Dp): of the head at hand; q times 1/√D
  T *log_sum, *delta;        // (Tp); log_sum is ∞ beyond T: all weights there are e^−∞ = 0
  uint8_t* kept;             // (Tp, Tp): 1 where dropout keeps the pair
  T *dk, *dv;                // (lanes, Dp): of the block of keys at hand
  T *k_columns, *v_columns;  // (Dp, lanes)
  T *p, *ds;                 // (piece, lanes)

  BackwardMemory(T* memory, const AttentionSizes& s) : Tp(padded<T>(s.T)), Dp(padded<T>(s.D)) {
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    for (T** m : {&q, &k, &v, &dy, &dq}) *m = take(Tp * Dp);
    for (T** m : {&log_sum, &delta}) *m = take(Tp);
    for (T** m : {&dk, &dv, &k_columns, &v_columns}) *m = take(Dp * lanes<T>);
    for (T** m : {&p, &ds}) *m = take(piece * lanes<T>);
    kept = reinterpret_cast<uint8_t*>(memory);
  }
  /// q has the factor already.
  vector_t<T> scaled(const vector_t<T>& scores) const { return scores; }
  static int64_t size(const AttentionSizes& s) {
    const int64_t Tp = padded<T>(s.T), Dp = padded<T>(s.D);
    const int64_t for_kept = s.dropout_rate > 0 ? Tp * Tp / static_cast<int64_t>(sizeof(T)) : 0;
    return Tp * (5 * Dp + 2) + (4 * Dp + 2 * piece) * lanes<T> + for_kept;
  }
};

/// m.kept of the head. A query's noise is consecutive (see uniform_line), so it is drawn row by row.
template <class Memory>
void draw_kept(Memory& m, const AttentionSizes& s, int64_t b, int64_t h) {
  const auto rate = static_cast<float>(s.dropout_rate);
  for (int64_t i = 0; i < s.T; ++i) {
    const float* u = uniform_line(s.key, b, (h * s.T + i) * s.T, i + 1);
    uint8_t* kept = m.kept + i * m.Tp;
#pragma omp simd
    for (int64_t j = 0; j <= i; ++j) kept[j] = u[j] >= rate;
  }
}

/// m.q, m.k, m.v, m.dy, m.log_sum and m.delta of the head; m.dq = 0.
template <class T, class S>
void load_head(BackwardMemory<T>& m, const Head<S>& head, const S* dy, const S* y, const T* log_sum) {
  const AttentionSizes& s = head.s;
  load_rows(m.q, head.q(0), head.stride(), s.T, s.D, m.Dp, T(1) / std::sqrt(static_cast<T>(s.D)));
  load_rows(m.k, head.k(0), head.stride(), s.T, s.D, m.Dp);
  load_rows(m.v, head.v(0), head.stride(), s.T, s.D, m.Dp);
  load_rows(m.dy, dy + s.out(head.b, 0, head.h), s.C(), s.T, s.D, m.Dp);
  std::fill_n(m.dq, m.Tp * m.Dp, T(0));
  for (int64_t t = 0; t < s.T; ++t) {
    const S* row = y + s.out(head.b, t, head.h);
    T delta = 0;
#pragma omp simd reduction(+ : delta)
    for (int64_t d = 0; d < s.D; ++d) delta += m.dy[t * m.Dp + d] * static_cast<T>(row[d]);
    m.delta[t] = delta;
  }
  std::copy_n(log_sum + s.row(head.b, 0, head.h), s.T, m.log_sum);
  std::fill(m.log_sum + s.T, m.log_sum + m.Tp, std::numeric_limits<T>::infinity());
}

/// Of query i and the block of keys that begins at `first`: p from scores to P̃, ds from dP to dS.
template <bool dropout, class T, class Memory>
[[gnu::always_inline]] inline void pair_gradient(vector_t<T>& p, vector_t<T>& ds, const Memory& m, int64_t i,
                                                 int64_t first, T kept_factor) {
  p = exp_of_nonpositive<T>(m.scaled(p) - m.log_sum[i]);
  if constexpr (dropout) {
    const vector_t<T> kept = kept_factor * widened<T>(m.kept + i * m.Tp + first);
    ds = p * (kept * ds - m.delta[i]);
    p *= kept;
  } else {
    ds = p * (ds - m.delta[i]);
  }
}

/// m.p = P̃ and m.ds = dS of n queries from `row` on, with the block of keys that begins at `first`. Hidden pairs
/// hold anything.
template <bool dropout, class T>
void pair_gradients(BackwardMemory<T>& m, const AttentionSizes& s, int64_t row, int64_t n, int64_t first) {
  dot_products(m.p, m.q + row * m.Dp, m.k_columns, n, s.D, m.Dp);
  dot_products(m.ds, m.dy + row * m.Dp, m.v_columns, n, s.D, m.Dp);
  const auto kept_factor = static_cast<T>(1.0 / (1.0 - s.dropout_rate));
  for (int64_t i = 0; i < n; ++i)
    pair_gradient<dropout>(vector_at(m.p + i * lanes<T>), vector_at(m.ds + i * lanes<T>), m, row + i, first,
                           kept_factor);
}

template <bool dropout, class T, class S>
void head_backward(Accumulator<S> dqkv, const S* dy, const S* y, const T* log_sum, BackwardMemory<T>& m,
                   const Head<S>& head) {
  const AttentionSizes& s = head.s;
  load_head(m, head, dy, y, log_sum);
  if constexpr (dropout) draw_kept(m, s, head.b, head.h);
  for (int64_t first = 0; first < s.T; first += lanes<T>) {
    const int64_t keys = std::min(lanes<T>, s.T - first);
    const T* rows_of_k = m.k + first * m.Dp;
    transpose(m.k_columns, rows_of_k, m.Dp);
    transpose(m.v_columns, m.v + first * m.Dp, m.Dp);
    std::fill_n(m.dk, lanes<T> * m.Dp, T(0));
    std::fill_n(m.dv, lanes<T> * m.Dp, T(0));

    pair_gradients<dropout>(m, s, first, lanes<T>, first);
    add_triangle<Triangle::from_i, true>(m.dk, m.ds, m.q + first * m.Dp, m.Dp);
    add_triangle<Triangle::from_i, true>(m.dv, m.p, m.dy + first * m.Dp, m.Dp);
    add_triangle<Triangle::up_to_i, false>(m.dq + first * m.Dp, m.ds, rows_of_k, m.Dp);
    for (int64_t row = first + lanes<T>; row < m.Tp; row += m.piece) {
      const int64_t n = std::min(m.piece, m.Tp - row);
      pair_gradients<dropout>(m, s, row, n, first);
      add_transposed_product(m.dk, m.ds, m.q + row * m.Dp, n, m.Dp);
      add_transposed_product(m.dv, m.p, m.dy + row * m.Dp, n, m.Dp);
      add_product(m.dq + row * m.Dp, m.ds, rows_of_k, n, m.Dp);
    }
    for (int64_t r = 0; r < keys; ++r) {
      const int64_t k = s.qkv(head.b, first + r, head.h) + s.C(), v = k + s.C();
#pragma omp simd
      for (int64_t d = 0; d < s.D; ++d)
        dqkv.add(k + d, m.dk[r * m.Dp + d]);  // q was loaded with the factor 1/√D
#pragma omp simd
      for (int64_t d = 0; d < s.D; ++d) dqkv.add(v + d, m.dv[r * m.Dp + d]);
    }
  }
  const T factor = T(1) / std::sqrt(static_cast<T>(s.D));
  for (int64_t t = 0; t < s.T; ++t) {
    const int64_t q = s.qkv(head.b, t, head.h);
#pragma omp simd
    for (int64_t d = 0; d < s.D; ++d) dqkv.add(q + d, m.dq[t * m.Dp + d] * factor);
  }
}

/// work(memory, head) for every (sample, head), by all threads if there is so much to do that it pays.
template <class Memory, class S, class Work>
void for_each_head(const S* qkv, const AttentionSizes& s, Work work) {
  using T = acc_t<S>;
  const int threads = s.B * s.H * s.T * s.T * s.D > 65536 ? omp_get_max_threads() : 1;
  MemoryScope scope(MemoryUse::workspace);
  const int64_t size = padded<T>(Memory::size(s));  // so that every thread's begins at a whole vector
  Tensor all({threads, size}, dtype_of<T>());
#pragma omp parallel num_threads(threads)
  {
    T* own = all.data<T>() + omp_get_thread_num() * size;
    std::fill_n(own, size, T(0));
    Memory memory(own, s);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s.B * s.H; ++i) work(memory, Head<S>{s, i / s.H, i % s.H, qkv});
  }
}

template <class Memory, class S>
void forward(S* y, acc_t<S>* log_sum, const S* qkv, const AttentionSizes& s) {
  for_each_head<Memory>(qkv, s, [=](Memory& m, const Head<S>& head) { head_forward(y, log_sum, m, head); });
}

template <class Memory, class S>
void backward(Accumulator<S> dqkv, const S* dy, const S* y, const acc_t<S>* log_sum, const S* qkv,
              const AttentionSizes& s) {
  for_each_head<Memory>(qkv, s, [=](Memory& m, const Head<S>& head) {
    if (s.dropout_rate > 0)
      head_backward<true>(dqkv, dy, y, log_sum, m, head);
    else
      head_backward<false>(dqkv, dy, y, log_sum, m, head);
  });
}

}  // namespace attention_cpu

// S is what the tensors hold; the work is done in its accumulation type.
template <class S>
void attention_forward(S* y, acc_t<S>* log_sum, const S* qkv, const AttentionSizes& s) {
  attention_cpu::forward<attention_cpu::ForwardMemory<acc_t<S>>>(y, log_sum, qkv, s);
}

template <class S>
void attention_backward(Accumulator<S> dqkv, const S* dy, const S* y, const acc_t<S>* log_sum, const S* qkv,
                        const AttentionSizes& s) {
  attention_cpu::backward<attention_cpu::BackwardMemory<acc_t<S>>>(dqkv, dy, y, log_sum, qkv, s);
}

}  // namespace ld
