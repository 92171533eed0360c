// Attention on CPUs that multiply tiles of bfloat16 (engine/tile_unit.h), with the softmax of attention_cpu.h in float32.
// Forward goes by blocks of 16 queries, backward by blocks of 32 keys, because a product that sums over keys takes 32 at
// a time. Factors of products are bfloat16: q, k, v and dy as they come, and P̃ and dS rounded, an error of at most 2⁻⁸
// of each term of the sums for y, dq, dk and dv, as on a GPU (attention_flash.h).
#pragma once

#include "ops/attention_bfloat16_tiles.h"
#include "ops/attention_cpu.h"

#ifdef LD_TILE_UNIT

namespace ld {
namespace attention_cpu {

/// The memory that one thread works in, as in attention_cpu.h. Rows are zero beyond T and D: all is zero at first, and
/// nobody writes there.
struct TileForwardMemory : TileSizes {
  float factor;                      // of scores
  Word *q, *k, *v;                   // rows of the head at hand
  Word* v_transposed;                // of the head at hand
  Word* q_columns;                   // of the 16 queries at hand, like everything below
  float *p, *noise;                  // (Tp, 16)
  float* noise_rows;                 // (16, keys)
  Word* p_pairs;                     // (Tp / 2, 16)
  float* out;                        // (Dp, 16)
  float *largest, *total, *log_sum;  // (16)
  TileUnit unit;

  TileForwardMemory(float* memory, const AttentionSizes& s)
      : TileSizes(s), factor(1 / std::sqrt(static_cast<float>(s.D))) {
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    auto words = [&](int64_t n) { return reinterpret_cast<Word*>(take(n)); };
    for (Word** m : {&q, &k, &v}) *m = words(Tp * depth);
    v_transposed = words(Dp * Tp / 2);
    q_columns = words(depth * tile);
    for (float** m : {&p, &noise, &noise_rows}) *m = take(Tp * tile);
    p_pairs = words(Tp / 2 * tile);
    out = take(Dp * tile);
    for (float** m : {&largest, &total, &log_sum}) *m = take(tile);
  }
  static int64_t size(const AttentionSizes& s) {
    const TileSizes n(s);
    return 3 * n.Tp * n.depth + n.Dp * n.Tp / 2 + (n.depth + 3 * n.Tp + n.Tp / 2 + n.Dp + 3) * tile;
  }
  /// Rounded before anything is subtracted: by a fused multiply-add the largest score would not be the one that
  /// `largest` was made from.
  Floats scaled(const Floats& scores) const { return rounded_product(scores, factor); }
};

inline void head_forward(bfloat16* y, float* log_sum, TileForwardMemory& m, const Head<bfloat16>& head) {
  const AttentionSizes& s = head.s;
  load_rows(m.q, head.q(0), head.stride(), s, m);
  load_rows(m.k, head.k(0), head.stride(), s, m);
  const NotFinite apart = load_rows(m.v, head.v(0), head.stride(), s, m);
  transpose_rows(m.v_transposed, m.v, m.q_columns, m, apart);
  for (int64_t first = 0; first < s.T; first += tile) {
    const int64_t rows = std::min(tile, s.T - first), keys = first + tile;
    transpose(m.q_columns, m.q + first * m.depth, m.depth);
    for (int64_t j = 0; j < keys; j += tile)
      m.unit.product(m.p + j * tile, m.k + j * m.depth, m.depth, m.q_columns, m.depth);
    exponentials(m, first);
    if (s.dropout_rate > 0) drop(m, s, head.b, head.h, first);
    for (int64_t j = 0; j < keys; j += 2)
      vector_at(m.p_pairs + j / 2 * tile) =
          rounded_pairs(vector_at(m.p + j * tile), vector_at(m.p + (j + 1) * tile));
    if (keys % (2 * tile) != 0)  // the last tile of pairs is half full
      std::fill_n(m.p_pairs + keys / 2 * tile, tile / 2 * tile, 0);
    for (int64_t d = 0; d < s.D; d += tile)
      m.unit.product(m.out + d * tile, m.v_transposed + d * m.Tp / 2, m.Tp / 2, m.p_pairs, keys / 2);
    for (size_t i = 0; i < apart.tokens.size() && apart.tokens[i] < keys; ++i) {
      const Floats p = vector_at(m.p + apart.tokens[i] * tile);
      const auto sees = lane_numbers<float>() >= static_cast<float>(apart.tokens[i] - first);
      for (int64_t d = 0; d < s.D; ++d) {
        Floats sum = vector_at(m.out + d * tile);
        vector_at(m.out + d * tile) = sees ? sum + apart.row(i, m)[d] * p : sum;
      }
    }

    const Floats inverse = 1 / vector_at(m.total);
    for (int64_t d = 0; d < s.D; ++d) vector_at(m.out + d * tile) *= inverse;
    for_each_turned_row(m.out, s.D, rows, [&](int64_t r, int64_t d, const Floats& row) {
      store_row(y + s.out(head.b, first + r, head.h) + d, row, s.D - d);
    });
    std::copy_n(m.log_sum, rows, log_sum + s.row(head.b, first, head.h));
  }
}

/// Like TileForwardMemory.
struct TileBackwardMemory : TileSizes {
  float factor;                                  // of scores
  Word *q, *k, *v, *dy;                          // rows of the head at hand
  Word *q_transposed, *dy_transposed, *k_pairs;  // of the head at hand, without what is apart
  NotFinite apart_q, apart_dy, apart_k;
  float* dq;                          // (Dp / 16, Tp, 16)
  float *log_sum, *delta;             // (Tp); log_sum is ∞ beyond T: all weights there are e^−∞ = 0
  uint8_t* kept;                      // (Tp, Tp): 1 where dropout keeps the pair
  Word *k_columns[2], *v_columns[2];  // of the 2 · 16 keys at hand, like everything below
  Word *p_pairs[2], *ds_pairs[2];     // (Tp / 2, 16)
  Word* ds_rows;                      // (Tp, 32 keys)
  float *p[2], *ds[2];                // (16, 16), of 16 queries
  float *dk[2], *dv[2];               // (Dp, 16)
  TileUnit unit;

  TileBackwardMemory(float* memory, const AttentionSizes& s)
      : TileSizes(s), factor(1 / std::sqrt(static_cast<float>(s.D))) {
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    auto words = [&](int64_t n) { return reinterpret_cast<Word*>(take(n)); };
    for (Word** m : {&q, &k, &v, &dy}) *m = words(Tp * depth);
    for (Word** m : {&q_transposed, &dy_transposed, &k_pairs}) *m = words(Dp * Tp / 2);
    dq = take(Tp * Dp);
    for (float** m : {&log_sum, &delta}) *m = take(Tp);
    for (Word** m : {&k_columns[0], &k_columns[1], &v_columns[0], &v_columns[1]}) *m = words(depth * tile);
    for (Word** m : {&p_pairs[0], &p_pairs[1], &ds_pairs[0], &ds_pairs[1]}) *m = words(Tp / 2 * tile);
    ds_rows = words(Tp * tile);
    for (float** m : {&p[0], &p[1], &ds[0], &ds[1]}) *m = take(tile * tile);
    for (float** m : {&dk[0], &dk[1], &dv[0], &dv[1]}) *m = take(Dp * tile);
    kept = reinterpret_cast<uint8_t*>(memory);
  }
  static int64_t size(const AttentionSizes& s) {
    const TileSizes n(s);
    const int64_t for_kept = s.dropout_rate > 0 ? n.Tp * n.Tp / static_cast<int64_t>(sizeof(float)) : 0;
    return n.Tp * (4 * n.depth + n.Dp + 2) + 3 * n.Dp * n.Tp / 2 +
           (4 * n.depth + 3 * n.Tp + 4 * tile + 4 * n.Dp) * tile + for_kept;
  }
  Floats scaled(const Floats& scores) const { return rounded_product(scores, factor); }
};

/// What m holds of a head; m.dq = 0.
inline void load_head(TileBackwardMemory& m, const Head<bfloat16>& head, const bfloat16* dy,
                      const bfloat16* y, const float* log_sum) {
  const AttentionSizes& s = head.s;
  m.apart_q = load_rows(m.q, head.q(0), head.stride(), s, m);
  m.apart_k = load_rows(m.k, head.k(0), head.stride(), s, m);
  m.apart_dy = load_rows(m.dy, dy + s.out(head.b, 0, head.h), s.C(), s, m);
  load_rows(m.v, head.v(0), head.stride(), s, m);
  transpose_rows(m.q_transposed, m.q, m.k_columns[0], m, m.apart_q);
  transpose_rows(m.dy_transposed, m.dy, m.k_columns[0], m, m.apart_dy);
  pair_rows(m.k_pairs, m.k, m, m.apart_k);
  std::fill_n(m.dq, m.Tp * m.Dp, 0.0f);
  for (int64_t t = 0; t < s.T; ++t) {
    Floats delta = {};
    for (int64_t d = 0, at = s.out(head.b, t, head.h); d < s.D; d += tile)
      delta += load_row(dy + at + d, s.D - d) * load_row(y + at + d, s.D - d);
    m.delta[t] = sum_of_lanes<float>(delta);
  }
  std::copy_n(log_sum + s.row(head.b, 0, head.h), s.T, m.log_sum);
  std::fill(m.log_sum + s.T, m.log_sum + m.Tp, std::numeric_limits<float>::infinity());
}

/// m.p[u] and m.ds[u]: the scores and dP of 16 queries from `row` on with half u of the 32 keys at hand.
inline void multiply(TileBackwardMemory& m, int64_t row, int64_t u) {
  m.unit.product(m.p[u], m.q + row * m.depth, m.depth, m.k_columns[u], m.depth);
  m.unit.product(m.ds[u], m.dy + row * m.depth, m.depth, m.v_columns[u], m.depth);
}

/// From these m.p_pairs[u], m.ds_pairs[u] and m.ds_rows. The keys at hand begin at `begin`.
template <bool dropout>
void pair_gradients(TileBackwardMemory& m, const AttentionSizes& s, int64_t row, int64_t begin, int64_t u) {
  const int64_t first = begin + u * tile;
  const auto kept_factor = static_cast<float>(1.0 / (1.0 - s.dropout_rate));
  for (int64_t i = 0; i < tile; i += 2) {
    Floats p[2], ds[2];
#pragma GCC unroll 2
    for (int64_t e = 0; e < 2; ++e) {
      p[e] = vector_at(m.p[u] + (i + e) * tile), ds[e] = vector_at(m.ds[u] + (i + e) * tile);
      pair_gradient<dropout>(p[e], ds[e], m, row + i + e, first, kept_factor);
      // The diagonal, and above it the square of the second keys with the first queries.
      if (row < first + tile) {
        const auto hidden = lane_numbers<float>() > static_cast<float>(row + i + e - first);
        p[e] = hidden ? Floats{} : p[e];
        ds[e] = hidden ? Floats{} : ds[e];
      }
      halves_at(m.ds_rows + (row - begin + i + e) * tile + u * tile / 2) = rounded(ds[e]);
    }
    const int64_t line = (row - begin + i) / 2 * tile;
    vector_at(m.p_pairs[u] + line) = rounded_pairs(p[0], p[1]);
    vector_at(m.ds_pairs[u] + line) = rounded_pairs(ds[0], ds[1]);
  }
}

/// m.dq += dS · K, with the 32 keys from `begin` on.
inline void add_query_gradients(TileBackwardMemory& m, const AttentionSizes& s, int64_t begin) {
  for (int64_t row = begin; row < m.Tp; row += tile)
    for (int64_t d = 0; d < s.D; d += tile)
      m.unit.add_product(m.dq + d * m.Tp + row * tile, m.ds_rows + (row - begin) * tile, tile,
                         m.k_pairs + (d * m.Tp + begin * tile) / 2, tile);
  for (size_t i = 0; i < m.apart_k.tokens.size(); ++i) {
    const int64_t key = m.apart_k.tokens[i];
    if (key < begin || key >= begin + 2 * tile) continue;
    for (int64_t t = key; t < s.T; ++t) {
      const float ds =
          std::bit_cast<bfloat16>(uint16_t{half_at(m.ds_rows + (t - begin) * tile, key - begin)});
      for (int64_t d = 0; d < s.D; d += tile)
        vector_at(m.dq + d * m.Tp + t * tile) += ds * vector_at(m.apart_k.row(i, m) + d);
    }
  }
}

/// sums (Dp, 16), of half u of the 32 keys from `begin` on: over the queries from there on, of what `pairs` say times the
/// rows that lie `transposed`, and those `apart`.
inline void sum_over_queries(float* sums, TileBackwardMemory& m, const AttentionSizes& s, int64_t begin,
                             int64_t u, const Word* pairs, const Word* transposed, const NotFinite& apart) {
  for (int64_t d = 0; d < s.D; d += tile)
    m.unit.product(sums + d * tile, transposed + (d * m.Tp + begin) / 2, m.Tp / 2, pairs, (m.Tp - begin) / 2);
  for (size_t i = 0; i < apart.tokens.size(); ++i) {
    const int64_t t = apart.tokens[i], first = begin + u * tile;
    if (t < first) continue;
    const Floats weight = row_of_pairs(pairs + (t - begin) / 2 * tile, (t - begin) % 2);
    const auto seen = lane_numbers<float>() <= static_cast<float>(t - first);
    for (int64_t d = 0; d < s.D; ++d) {
      const Floats sum = vector_at(sums + d * tile);
      vector_at(sums + d * tile) = seen ? sum + apart.row(i, m)[d] * weight : sum;
    }
  }
}

/// d += the first n of the row, 16 at most.
inline void add_row(Accumulator<bfloat16> d, const Floats& row, int64_t n) {
  store_row(d.data, d.empty ? row : row + load_row(d.data, n), n);
}

template <bool dropout>
void head_backward(Accumulator<bfloat16> dqkv, const bfloat16* dy, const bfloat16* y, const float* log_sum,
                   TileBackwardMemory& m, const Head<bfloat16>& head) {
  const AttentionSizes& s = head.s;
  load_head(m, head, dy, y, log_sum);
  if constexpr (dropout) draw_kept(m, s, head.b, head.h);
  for (int64_t begin = 0; begin < s.T; begin += 2 * tile) {
    for (int64_t u = 0; u < 2; ++u) {
      transpose(m.k_columns[u], m.k + (begin + u * tile) * m.depth, m.depth);
      transpose(m.v_columns[u], m.v + (begin + u * tile) * m.depth, m.depth);
    }
    // The unit multiplies a tile while the one before it is worked on.
    multiply(m, begin, 0);
    for (int64_t row = begin; row < m.Tp; row += tile) {
      multiply(m, row, 1);
      pair_gradients<dropout>(m, s, row, begin, 0);
      if (row + tile < m.Tp) multiply(m, row + tile, 0);
      pair_gradients<dropout>(m, s, row, begin, 1);
    }
    add_query_gradients(m, s, begin);
    for (int64_t u = 0; u < 2; ++u) {
      sum_over_queries(m.dk[u], m, s, begin, u, m.ds_pairs[u], m.q_transposed, m.apart_q);
      sum_over_queries(m.dv[u], m, s, begin, u, m.p_pairs[u], m.dy_transposed, m.apart_dy);
    }
    for (int64_t u = 0; u < 2; ++u) {
      const int64_t first = begin + u * tile,
                    keys = std::min(tile, s.T - first);  // none if it begins beyond T
      const auto at = [&](int64_t r, int64_t d) {
        return dqkv.from(s.qkv(head.b, first + r, head.h) + s.C() + d);
      };
      for_each_turned_row(m.dk[u], s.D, keys, [&](int64_t r, int64_t d, const Floats& row) {
        add_row(at(r, d), row * m.factor, s.D - d);
      });
      for_each_turned_row(m.dv[u], s.D, keys, [&](int64_t r, int64_t d, const Floats& row) {
        add_row(at(r, d).from(s.C()), row, s.D - d);
      });
    }
  }
  for (int64_t t = 0; t < s.T; ++t)
    for (int64_t d = 0; d < s.D; d += tile)
      add_row(dqkv.from(s.qkv(head.b, t, head.h) + d), vector_at(m.dq + d * m.Tp + t * tile) * m.factor,
              s.D - d);
}

}  // namespace attention_cpu

inline void attention_forward(bfloat16* y, float* log_sum, const bfloat16* qkv, const AttentionSizes& s) {
  if (TileUnit::available())
    attention_cpu::forward<attention_cpu::TileForwardMemory>(y, log_sum, qkv, s);
  else
    attention_forward<bfloat16>(y, log_sum, qkv, s);
}

inline void attention_backward(Accumulator<bfloat16> dqkv, const bfloat16* dy, const bfloat16* y,
                               const float* log_sum, const bfloat16* qkv, const AttentionSizes& s) {
  if (TileUnit::available())
    attention_cpu::backward<attention_cpu::TileBackwardMemory>(dqkv, dy, y, log_sum, qkv, s);
  else
    attention_backward<bfloat16>(dqkv, dy, y, log_sum, qkv, s);
}

}  // namespace ld

#endif
