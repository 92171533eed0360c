// Attention in bfloat16 on tensor cores, after FlashAttention-2 (Dao 2023, arXiv:2307.08691); the mathematics
// is in attention.h, the parts in attention_tiles.h. All products take bfloat16 and sum in float32; between
// products numbers are float32, but for P̃ and dS, which are rounded to bfloat16 because they are factors
// again: an error of at most 2⁻⁸ of each term of the sums for y, dq, dk and dv.
//
//   forward          a block takes 64 queries and goes through the keys up to the diagonal; softmax runs along:
//                    whenever a larger score comes, sum and outputs so far are scaled down to it
//   query_gradient   the same loop for dq; P from the saved log of the sums; δ on the way, for the next one
//   key_gradient     a block takes 64 keys and goes through the queries from the diagonal on, for dk and dv.
//                    Its scores are the transposed ones, K·Qᵀ, so that Pᵀ and dSᵀ are left factors as they are
//
// Each sum is one warp's, in the order of the keys or queries: the same bits in every run, no atomics.
#pragma once

#include <type_traits>

#include "engine/math.h"
#include "engine/tensor.h"
#include "ops/attention_tiles.h"

namespace ld::attention_mma {

inline constexpr float log2_of_e = static_cast<float>(math::log2_e), ln_2 = 0.693147181f;

/// Softmax as the scores come in, of the rows g and g + 8. Scores are kept as products q·k; times `scale` they
/// are the exponents of 2.
struct RunningSoftmax {
  float scale;
  float largest[2] = {-std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  float total[2] = {};  // the lane's part of the sum

  /// scores -> 2^(scale·(score − largest)), after all that was summed before has been scaled to the new largest.
  template <int D>
  __device__ void take(Square (&scores)[tile / chunk], Sums<D>& sums) {
    UNROLL_FRAGMENTS
    for (int r = 0; r < 2; ++r) {
      float most = largest[r];
      UNROLL_FRAGMENTS
      for (const Square& s : scores) UNROLL_FRAGMENTS
      for (const FragmentC& c : s.half) most = fmaxf(most, fmaxf(c.x[2 * r], c.x[2 * r + 1]));
      most = quad_max(most);
      // While all scores are −∞ their weights are 0, not e^(−∞ + ∞).
      const float base = most == -std::numeric_limits<float>::infinity() ? 0.0f : most * scale;
      const float shrink = exp2_fast(largest[r] * scale - base);
      largest[r] = most;
      total[r] *= shrink;
      UNROLL_FRAGMENTS
      for (FragmentC& c : sums.part) {
        c.x[2 * r] *= shrink;
        c.x[2 * r + 1] *= shrink;
      }
      UNROLL_FRAGMENTS
      for (Square& s : scores) UNROLL_FRAGMENTS
      for (FragmentC& c : s.half) UNROLL_FRAGMENTS
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        c.x[i] = exp2_fast(c.x[i] * scale - base);
        total[r] += c.x[i];
      }
    }
  }
  __device__ float log_sum(int r, float all) const { return largest[r] * scale * ln_2 + math::log(all); }
};

/// 1/√D, and times log₂e: with it 2ˣ does for eˣ.
__device__ inline float score_factor(const AttentionSizes& s) {
  return 1.0f / math::sqrt(static_cast<float>(s.D));
}
/// What dropout multiplies a weight by that it keeps.
__device__ inline float kept_factor(const AttentionSizes& s) {
  return 1.0f / (1.0f - static_cast<float>(s.dropout_rate));
}

/// Blocks that a multiprocessor should hold at the same time: what bounds the registers of a thread. While one
/// waits for memory another computes, which counts the more the less there is to compute.
template <int D>
constexpr int blocks_at_once = D == 16   ? 5
                               : D == 32 ? 4
                               : D == 64 ? 3
                                         : 2;

template <int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<D>)
    forward_kernel(bfloat16* y, float* log_sum, const bfloat16* qkv, AttentionSizes s) {
  DYNAMIC_SHARED(bfloat16, keys);
  bfloat16* const values = keys + tile_elements<D>;
  const Rows at(s, true);
  const Lane lane;
  const int64_t step = 3 * s.C();
  const int mine = at.first + chunk * lane.warp;
  const bfloat16* const q_rows = qkv + s.qkv(at.b, 0, at.h);

  load_tile<D>(keys, q_rows, step, at.first, s);
  __syncthreads();
  const InRegisters<D> q(keys + chunk * lane.warp * stride<D>);

  RunningSoftmax softmax{score_factor(s) * log2_of_e};
  Sums<D> sums;
  for (int first = 0; first <= at.first; first += tile) {
    __syncthreads();
    load_tile<D>(keys, q_rows + s.C(), step, first, s);
    load_tile<D>(values, q_rows + 2 * s.C(), step, first, s);
    __syncthreads();
    Square p[tile / chunk];
    UNROLL_FRAGMENTS
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      p[c] = key <= mine ? scores<D>(q, keys + chunk * c * stride<D>) : Square{};
      if (key >= mine)
        for_each_element(lane, [&](int n, int i, int row, int column) {
          if (key + column > mine + row) p[c].half[n].x[i] = -std::numeric_limits<float>::infinity();
        });
    }
    softmax.take(p, sums);
    UNROLL_FRAGMENTS
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      if (key > mine) continue;
      if constexpr (drops) {
        const Kept kept(s, at, mine, key, lane.lane);
        const uint32_t keeps[2] = {kept.of_query(lane.g), kept.of_query(lane.g + 8)};
        for_each_element(lane, [&](int n, int i, int, int column) {
          if (!(keeps[i / 2] >> column & 1)) p[c].half[n].x[i] = 0;
        });
      }
      const FragmentA weights = as_left_factor(p[c]);
      const bfloat16* rows = values + chunk * c * stride<D>;
      if (key < mine)
        sums.add(weights, rows);
      else
        sums.add_visible(weights, rows, [](int row, int k) { return k <= row; });
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    const float total = quad_sum(softmax.total[r]);
    if (row >= at.T) continue;
    const Accumulator<bfloat16> out{y, true};
    sums.add_row(out, s.out(at.b, row, at.h), r, (drops ? kept_factor(s) : 1.0f) / total,
                 static_cast<int>(s.D), lane);
    if (lane.t == 0) log_sum[s.row(at.b, row, at.h)] = softmax.log_sum(r, total);
  }
}

template <int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<D>)
    query_gradient_kernel(Accumulator<bfloat16> dqkv, float* delta, const bfloat16* dy, const bfloat16* y,
                          const float* log_sum, const bfloat16* qkv, AttentionSizes s) {
  DYNAMIC_SHARED(bfloat16, keys);
  bfloat16* const values = keys + tile_elements<D>;
  const Rows at(s, true);
  const Lane lane;
  const int64_t step = 3 * s.C(), out = s.out(at.b, 0, at.h);
  const int mine = at.first + chunk * lane.warp;
  const bfloat16* const q_rows = qkv + s.qkv(at.b, 0, at.h);
  const int own = chunk * lane.warp * stride<D>;

  load_tile<D>(keys, y + out, s.C(), at.first, s);
  load_tile<D>(values, dy + out, s.C(), at.first, s);
  __syncthreads();
  const InRegisters<D> dy_rows(values + own);
  float d[2] = {};
  UNROLL_FRAGMENTS
  for (int k = 0; k < D / 16; ++k) {
    const FragmentA a = dy_rows[k], b = load_left_factor(keys + own + 16 * k, stride<D>);
    UNROLL_FRAGMENTS
    for (int i = 0; i < 4; ++i)
      d[i % 2] += low_half(a.x[i]) * low_half(b.x[i]) + high_half(a.x[i]) * high_half(b.x[i]);
  }
  float log2_sum[2];
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    const int64_t place = s.row(at.b, row, at.h);
    d[r] = quad_sum(d[r]);
    log2_sum[r] = row < at.T ? log_sum[place] * log2_of_e : 0.0f;
    if (row < at.T && lane.t == 0) delta[place] = d[r];
  }
  __syncthreads();
  load_tile<D>(keys, q_rows, step, at.first, s);
  __syncthreads();
  const InRegisters<D> q(keys + own);

  const float factor = score_factor(s), scale = factor * log2_of_e, keep_factor = kept_factor(s);
  Sums<D> dq;
  for (int first = 0; first <= at.first; first += tile) {
    __syncthreads();
    load_tile<D>(keys, q_rows + s.C(), step, first, s);
    load_tile<D>(values, q_rows + 2 * s.C(), step, first, s);
    __syncthreads();
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      if (key > mine) break;
      const bfloat16* rows = keys + chunk * c * stride<D>;
      Square ds = scores<D>(q, rows);
      const Square dp = scores<D>(dy_rows, values + chunk * c * stride<D>);
      uint32_t keeps[2] = {};
      if constexpr (drops) {
        const Kept kept(s, at, mine, key, lane.lane);
        UNROLL_FRAGMENTS
        for (int r = 0; r < 2; ++r) keeps[r] = kept.of_query(lane.g + 8 * r);
      }
      for_each_element(lane, [&](int n, int i, int row, int column) {
        float& x = ds.half[n].x[i];
        const float p = exp2_fast(x * scale - log2_sum[i / 2]);
        const float keep = drops ? (keeps[i / 2] >> column & 1 ? keep_factor : 0.0f) : 1.0f;
        x = key + column <= mine + row ? p * (keep * dp.half[n].x[i] - d[i / 2]) : 0.0f;
      });
      if (key < mine)
        dq.add(as_left_factor(ds), rows);
      else
        dq.add_visible(as_left_factor(ds), rows, [](int row, int k) { return k <= row; });
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    if (row < at.T) dq.add_row(dqkv, s.qkv(at.b, row, at.h), r, factor, static_cast<int>(s.D), lane);
  }
}

/// Whether a warp's keys and values fit into its registers beside the sums of their gradients.
template <int D>
constexpr bool key_factors_stay = D <= 64;

template <int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<D>)
    key_gradient_kernel(Accumulator<bfloat16> dqkv, const float* delta, const bfloat16* dy,
                        const float* log_sum, const bfloat16* qkv, AttentionSizes s) {
  DYNAMIC_SHARED(bfloat16, queries);
  bfloat16* const dys = queries + tile_elements<D>;
  bfloat16* const keys = key_factors_stay<D> ? queries : dys + tile_elements<D>;
  bfloat16* const values = keys + tile_elements<D>;
  float* const log2_sums = reinterpret_cast<float*>(values + tile_elements<D>);
  float* const deltas = log2_sums + tile;
  const Rows at(s, false);
  const Lane lane;
  const int64_t step = 3 * s.C(), out = s.out(at.b, 0, at.h);
  const int mine = at.first + chunk * lane.warp;
  const bfloat16* const q_rows = qkv + s.qkv(at.b, 0, at.h);

  load_tile<D>(keys, q_rows + s.C(), step, at.first, s);
  load_tile<D>(values, q_rows + 2 * s.C(), step, at.first, s);
  __syncthreads();
  using Factor = std::conditional_t<key_factors_stay<D>, InRegisters<D>, InShared<D>>;
  const Factor k(keys + chunk * lane.warp * stride<D>), v(values + chunk * lane.warp * stride<D>);

  const float factor = score_factor(s), scale = factor * log2_of_e, keep_factor = kept_factor(s);
  Sums<D> dk, dv;
  for (int first = at.first; first < at.T; first += tile) {
    __syncthreads();
    load_tile<D>(queries, q_rows, step, first, s);
    load_tile<D>(dys, dy + out, s.C(), first, s);
    if (const int i = static_cast<int>(threadIdx.x); i < tile && first + i < at.T) {
      const int64_t row = s.row(at.b, first + i, at.h);
      log2_sums[i] = log_sum[row] * log2_of_e;
      deltas[i] = delta[row];
    }
    __syncthreads();
    for (int c = 0; c < tile / chunk; ++c) {
      const int query = first + chunk * c;
      if (query < mine) continue;
      if (query >= at.T) break;
      const bfloat16 *q = queries + chunk * c * stride<D>, *g = dys + chunk * c * stride<D>;
      Square p = scores<D>(k, q), ds = scores<D>(v, g);
      uint32_t keeps[4] = {};
      if constexpr (drops) {
        const Kept kept(s, at, query, mine, lane.lane);
        UNROLL_FRAGMENTS
        for (int i = 0; i < 4; ++i) keeps[i] = kept.of_query(i / 2 * 8 + 2 * lane.t + i % 2);
      }
      for_each_element(lane, [&](int n, int i, int row, int column) {
        float &x = p.half[n].x[i], &dp = ds.half[n].x[i];
        const int of_tile = chunk * c + column;
        const bool visible = mine + row <= query + column && query + column < at.T;
        const float weight = exp2_fast(x * scale - log2_sums[of_tile]);
        const float keep = drops ? (keeps[2 * n + i % 2] >> row & 1 ? keep_factor : 0.0f) : 1.0f;
        x = visible ? keep * weight : 0.0f;
        dp = visible ? weight * (keep * dp - deltas[of_tile]) : 0.0f;
      });
      if (query > mine) {
        dv.add(as_left_factor(p), g);
        dk.add(as_left_factor(ds), q);
      } else {
        const auto sees = [](int row, int k) { return k >= row; };
        dv.add_visible(as_left_factor(p), g, sees);
        dk.add_visible(as_left_factor(ds), q, sees);
      }
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    const int64_t place = s.qkv(at.b, row, at.h) + s.C();
    if (row >= at.T) continue;
    dk.add_row(dqkv, place, r, factor, static_cast<int>(s.D), lane);
    dv.add_row(dqkv, place + s.C(), r, 1.0f, static_cast<int>(s.D), lane);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

inline constexpr int64_t most_columns = 128;

/// run(D, drops) with the head size rounded up to one that there are kernels for.
template <class Run>
void with_kernel_sizes(const AttentionSizes& s, Run run) {
  const auto with_dropout = [&](auto D) {
    if (s.dropout_rate > 0)
      run(D, std::true_type{});
    else
      run(D, std::false_type{});
  };
  if (s.D <= 16)
    with_dropout(std::integral_constant<int, 16>{});
  else if (s.D <= 32)
    with_dropout(std::integral_constant<int, 32>{});
  else if (s.D <= 64)
    with_dropout(std::integral_constant<int, 64>{});
  else
    with_dropout(std::integral_constant<int, most_columns>{});
}

inline dim3 grid(const AttentionSizes& s) {
  return dim3(static_cast<unsigned>(s.B * s.H * ((s.T + tile - 1) / tile)));
}

/// A kernel that needs more than the 48 KiB of shared memory every kernel may have must ask for it.
template <class Kernel>
void allow_shared_bytes(Kernel kernel, size_t bytes) {
  if (bytes > 48 * 1024)
    CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

inline void forward(bfloat16* y, float* log_sum, const bfloat16* qkv, const AttentionSizes& s) {
  with_kernel_sizes(s, [&](auto D, auto drops) {
    constexpr size_t bytes = 2 * tile_elements<D> * sizeof(bfloat16);
    launch(forward_kernel<D, drops>, grid(s), dim3(threads), bytes, y, log_sum, qkv, s);
  });
}

inline void backward(Accumulator<bfloat16> dqkv, const bfloat16* dy, const bfloat16* y, const float* log_sum,
                     const bfloat16* qkv, const AttentionSizes& s) {
  const Tensor delta_memory({s.B, s.H, s.T}, DType::float32);
  float* const delta = delta_memory.data<float>();
  with_kernel_sizes(s, [&](auto D, auto drops) {
    constexpr size_t pair = 2 * tile_elements<D> * sizeof(bfloat16);
    launch(query_gradient_kernel<D, drops>, grid(s), dim3(threads), pair, dqkv, delta, dy, y, log_sum, qkv,
           s);
    constexpr size_t bytes = (key_factors_stay<D> ? 1 : 2) * pair + 2 * tile * sizeof(float);
    allow_shared_bytes(key_gradient_kernel<D, drops>, bytes);
    launch(key_gradient_kernel<D, drops>, grid(s), dim3(threads), bytes, dqkv,
           static_cast<const float*>(delta), dy, log_sum, qkv, s);
  });
}

}  // namespace ld::attention_mma
