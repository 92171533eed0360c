// Attention on the GPU, after FlashAttention-2 (Dao 2023, arXiv:2307.08691); the mathematics is in attention.h,
// the parts in attention_tiles.h, the products in attention_products.h. bfloat16 is multiplied by tensor cores
// and summed in float32; between products numbers are float32, but for P̃ and dS, which are rounded to bfloat16
// because they are factors again: an error of at most 2⁻⁸ of each term of the sums for y, dq, dk and dv.
//
//   forward          a block takes 64 queries and goes through the keys up to the diagonal; softmax runs along:
//                    whenever a larger score comes, sum and outputs so far are scaled down to it
//   query_gradient   the same loop for dq; P from the saved log₂ of the sums; δ on the way, for the next one
//   key_gradient     a block takes 64 keys and goes through the queries from the diagonal on, for dk and dv.
//                    Its scores are the transposed ones, K·Qᵀ, so that Pᵀ and dSᵀ are left factors as they are
//
// Each sum is one warp's, in the order of the keys or queries: the same bits in every run, no atomics.
#pragma once

#include <algorithm>
#include <limits>

#include "engine/math.h"
#include "engine/tensor.h"
#include "ops/attention_products.h"

namespace ld::attention_flash {

/// Scores are kept as products q·k. Times `factor` they are exponents of e, times `scale` of 2.
template <class A>
struct Scaling {
  A factor, scale, kept;  // kept: what dropout multiplies a weight by that it keeps

  __device__ explicit Scaling(const AttentionSizes& s)
      : factor(A(1) / math::sqrt(static_cast<A>(s.D))),
        scale(factor * static_cast<A>(math::log2_e)),
        kept(A(1) / (A(1) - static_cast<A>(s.dropout_rate))) {}
};

/// Softmax as the scores come in, of the rows g and g + 8.
template <class A>
struct RunningSoftmax {
  A scale;
  A largest[2] = {-std::numeric_limits<A>::infinity(), -std::numeric_limits<A>::infinity()};
  A total[2] = {};  // the lane's part of the sum

  /// The exponent of 2 that is subtracted. While all scores are −∞ their weights are 0, not 2^(−∞ + ∞).
  __device__ A base_of(A most) const {
    return most == -std::numeric_limits<A>::infinity() ? A(0) : most * scale;
  }

  /// scores -> 2^(scale·(score − largest)), after what was summed before has been scaled to the new largest.
  template <int D>
  __device__ void take(Square<A> (&scores)[tile / chunk], Sums<A, D>& sums) {
    UNROLL_FRAGMENTS
    for (int r = 0; r < 2; ++r) {
      A most = largest[r];
      UNROLL_FRAGMENTS
      for (const Square<A>& s : scores) UNROLL_FRAGMENTS
      for (const Fragment<A>& c : s.half)
        most = max_ignoring_nan(most, max_ignoring_nan(c.x[2 * r], c.x[2 * r + 1]));
      most = quad_max(most);
      const A next = base_of(most), shrink = power_of_2(largest[r] * scale - next);
      largest[r] = most;
      total[r] *= shrink;
      UNROLL_FRAGMENTS
      for (Fragment<A>& c : sums.part) {
        c.x[2 * r] *= shrink;
        c.x[2 * r + 1] *= shrink;
      }
      UNROLL_FRAGMENTS
      for (Square<A>& s : scores) UNROLL_FRAGMENTS
      for (Fragment<A>& c : s.half) UNROLL_FRAGMENTS
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        c.x[i] = power_of_2(c.x[i] * scale - next);
        total[r] += c.x[i];
      }
    }
  }
};

/// Blocks that a multiprocessor should hold at the same time: what bounds the registers of a thread. While one
/// waits for memory another computes, which counts the more the less there is to compute.
template <class T, int D>
constexpr int blocks_at_once = sizeof(T) == 8              ? 1
                               : D == 128                  ? 2
                               : sizeof(T) == 4 || D == 64 ? 3
                               : D == 32                   ? 4
                                                           : 5;

// In the kernels `mine` is the first of the warp's rows, and `drops` says whether there may be dropout.

template <class T, int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<T, D>)
    forward_kernel(T* y, acc_t<T>* log2_sum, const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  using Own = QueryRows<T, D>;
  DYNAMIC_SHARED(T, memory);
  if (drops) s.key = s.key.resolved();
  const Rows at(s, true);
  const Lane lane;
  const SharedTiles<T, D> tiles(memory, own_tiles<T, D, Own>(1), lane.warp);
  const int64_t step = 3 * s.C();
  const int mine = at.first + chunk * lane.warp;
  const T* const q_rows = qkv + s.qkv(at.b, 0, at.h);

  load_tile<D>(tiles.own_first, q_rows, step, at.first, s);
  __syncthreads();
  const Own q(tiles.own_first + chunk * lane.warp * stride<T, D>);

  const Scaling<A> scaling(s);
  RunningSoftmax<A> softmax{scaling.scale};
  Sums<A, D> sums;
  for (int first = 0; first <= at.first; first += tile) {
    tiles.load_next(q_rows + s.C(), step, q_rows + 2 * s.C(), step, first, s);
    __syncthreads();
    if (mine >= at.T) continue;  // this warp has no rows: it only helps to load
    Square<A> p[tile / chunk];
    UNROLL_FRAGMENTS
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      p[c] = key <= mine ? scores<D>(q, tiles.first + chunk * c * stride<T, D>) : Square<A>{};
      if (key >= mine)
        for_each_element(lane, [&](int n, int i, int row, int column) {
          if (key + column > mine + row) p[c].half[n].x[i] = -std::numeric_limits<A>::infinity();
        });
    }
    softmax.take(p, sums);
    UNROLL_FRAGMENTS
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      if (key > mine) continue;
      if (drops && s.dropout_rate > 0) {
        const Kept kept(s, at, mine, key, lane.lane);
        const uint32_t keeps[2] = {kept.of_query(lane.g), kept.of_query(lane.g + 8)};
        for_each_element(lane, [&](int n, int i, int, int column) {
          if (!(keeps[i / 2] >> column & 1)) p[c].half[n].x[i] = 0;
        });
      }
      const auto weights = as_weights(p[c], tiles.weights, lane);
      const T* const values = tiles.second + chunk * c * stride<T, D>;
      if (key < mine)
        sums.add(weights, values);
      else
        sums.add_visible(weights, values, [](int query, int key) { return key <= query; });
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    const A total = quad_sum(softmax.total[r]);
    if (row >= at.T) continue;
    sums.add_row(Accumulator<T>{y, true}, s.out(at.b, row, at.h), r, scaling.kept / total,
                 static_cast<int>(s.D), lane);
    if (lane.t == 0)
      log2_sum[s.row(at.b, row, at.h)] = softmax.base_of(softmax.largest[r]) + math::log2(total);
  }
}

template <class T, int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<T, D>)
    query_gradient_kernel(Accumulator<T> dqkv, acc_t<T>* delta, const T* dy, const T* y,
                          const acc_t<T>* log2_sum, const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  using Own = QueryRows<T, D>;
  DYNAMIC_SHARED(T, memory);
  if (drops) s.key = s.key.resolved();
  const Rows at(s, true);
  const Lane lane;
  const SharedTiles<T, D> tiles(memory, own_tiles<T, D, Own>(2), lane.warp);
  const int64_t step = 3 * s.C(), out = s.out(at.b, 0, at.h);
  const int mine = at.first + chunk * lane.warp;
  const T* const q_rows = qkv + s.qkv(at.b, 0, at.h);
  const int own = chunk * lane.warp * stride<T, D>;

  load_tile<D>(tiles.first, y + out, s.C(), at.first, s);
  load_tile<D>(tiles.own_second, dy + out, s.C(), at.first, s);
  __syncthreads();
  const Own dy_rows(tiles.own_second + own);
  A d[2], log2_total[2];
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = own + (lane.g + 8 * r) * stride<T, D>, t = mine + lane.g + 8 * r;
    A sum = 0;
    for (int c = lane.t; c < D; c += 4)
      sum += static_cast<A>(tiles.own_second[row + c]) * static_cast<A>(tiles.first[row + c]);
    d[r] = quad_sum(sum);
    const int64_t place = s.row(at.b, t, at.h);
    log2_total[r] = t < at.T ? log2_sum[place] : A(0);
    if (t < at.T && lane.t == 0) delta[place] = d[r];
  }
  __syncthreads();
  load_tile<D>(tiles.own_first, q_rows, step, at.first, s);
  __syncthreads();
  const Own q(tiles.own_first + own);

  const Scaling<A> scaling(s);
  Sums<A, D> dq;
  for (int first = 0; first <= at.first; first += tile) {
    tiles.load_next(q_rows + s.C(), step, q_rows + 2 * s.C(), step, first, s);
    __syncthreads();
    if (mine >= at.T) continue;
    for (int c = 0; c < tile / chunk; ++c) {
      const int key = first + chunk * c;
      if (key > mine) break;
      const T* const keys = tiles.first + chunk * c * stride<T, D>;
      Square<A> ds = scores<D>(q, keys);
      const Square<A> dp = scores<D>(dy_rows, tiles.second + chunk * c * stride<T, D>);
      uint32_t keeps[2] = {~0u, ~0u};
      if (drops && s.dropout_rate > 0) {
        const Kept kept(s, at, mine, key, lane.lane);
        UNROLL_FRAGMENTS
        for (int r = 0; r < 2; ++r) keeps[r] = kept.of_query(lane.g + 8 * r);
      }
      for_each_element(lane, [&](int n, int i, int, int column) {
        A& x = ds.half[n].x[i];
        const A p = power_of_2(x * scaling.scale - log2_total[i / 2]);
        const A keep = !drops ? A(1) : keeps[i / 2] >> column & 1 ? scaling.kept : A(0);
        x = p * (keep * dp.half[n].x[i] - d[i / 2]);
      });
      if (key == mine)
        for_each_element(lane, [&](int n, int i, int row, int column) {
          if (column > row) ds.half[n].x[i] = 0;
        });
      const auto weights = as_weights(ds, tiles.weights, lane);
      if (key < mine)
        dq.add(weights, keys);
      else
        dq.add_visible(weights, keys, [](int query, int key) { return key <= query; });
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    if (row < at.T) dq.add_row(dqkv, s.qkv(at.b, row, at.h), r, scaling.factor, static_cast<int>(s.D), lane);
  }
}

template <class T, int D, bool drops>
__global__ void __launch_bounds__(threads, blocks_at_once<T, D>)
    key_gradient_kernel(Accumulator<T> dqkv, const acc_t<T>* delta, const T* dy, const acc_t<T>* log2_sum,
                        const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  using Own = KeyRows<T, D>;
  DYNAMIC_SHARED(T, memory);
  STATIC_SHARED(A, log2_sums, [tile]);
  STATIC_SHARED(A, deltas, [tile]);
  if (drops) s.key = s.key.resolved();
  const Rows at(s, false);
  const Lane lane;
  const SharedTiles<T, D> tiles(memory, own_tiles<T, D, Own>(2), lane.warp);
  const int64_t step = 3 * s.C(), out = s.out(at.b, 0, at.h);
  const int mine = at.first + chunk * lane.warp;
  const T* const q_rows = qkv + s.qkv(at.b, 0, at.h);
  const int own = chunk * lane.warp * stride<T, D>;

  load_tile<D>(tiles.own_first, q_rows + s.C(), step, at.first, s);
  load_tile<D>(tiles.own_second, q_rows + 2 * s.C(), step, at.first, s);
  __syncthreads();
  const Own k(tiles.own_first + own), v(tiles.own_second + own);

  const Scaling<A> scaling(s);
  Sums<A, D> dk, dv;
  for (int first = at.first; first < at.T; first += tile) {
    tiles.load_next(q_rows, step, dy + out, s.C(), first, s);
    if (const int i = static_cast<int>(threadIdx.x); i < tile && first + i < at.T) {
      const int64_t row = s.row(at.b, first + i, at.h);
      log2_sums[i] = log2_sum[row];
      deltas[i] = delta[row];
    }
    __syncthreads();
    for (int c = 0; c < tile / chunk; ++c) {
      const int query = first + chunk * c;
      if (query < mine) continue;
      if (query >= at.T) break;
      const T *const q = tiles.first + chunk * c * stride<T, D>, *const g =
                                                                     tiles.second + chunk * c * stride<T, D>;
      Square<A> p = scores<D>(k, q), ds = scores<D>(v, g);
      uint32_t keeps[4] = {~0u, ~0u, ~0u, ~0u};
      if (drops && s.dropout_rate > 0) {
        const Kept kept(s, at, query, mine, lane.lane);
        UNROLL_FRAGMENTS
        for (int i = 0; i < 4; ++i) keeps[i] = kept.of_query(i / 2 * 8 + 2 * lane.t + i % 2);
      }
      for_each_element(lane, [&](int n, int i, int row, int column) {
        A &x = p.half[n].x[i], &dp = ds.half[n].x[i];
        const int of_tile = chunk * c + column;
        const A weight = power_of_2(x * scaling.scale - log2_sums[of_tile]);
        const A keep = !drops ? A(1) : keeps[2 * n + i % 2] >> row & 1 ? scaling.kept : A(0);
        x = keep * weight;
        dp = weight * (keep * dp - deltas[of_tile]);
      });
      if (query == mine || query + chunk > at.T)  // hidden, or behind the end
        for_each_element(lane, [&](int n, int i, int row, int column) {
          if (mine + row > query + column || query + column >= at.T) p.half[n].x[i] = ds.half[n].x[i] = 0;
        });
      const auto add = [&](Sums<A, D>& sums, const Square<A>& square, const T* rows) {
        const auto weights = as_weights(square, tiles.weights, lane);
        if (query > mine)
          sums.add(weights, rows);
        else
          sums.add_visible(weights, rows, [](int key, int query) { return key <= query; });
      };
      add(dv, p, g);
      add(dk, ds, q);
    }
  }
  UNROLL_FRAGMENTS
  for (int r = 0; r < 2; ++r) {
    const int row = mine + lane.g + 8 * r;
    const int64_t place = s.qkv(at.b, row, at.h) + s.C();
    if (row >= at.T) continue;
    dk.add_row(dqkv, place, r, scaling.factor, static_cast<int>(s.D), lane);
    dv.add_row(dqkv, place + s.C(), r, A(1), static_cast<int>(s.D), lane);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

/// The largest head size that there are kernels for.
template <class T>
constexpr int64_t most_columns = sizeof(T) == 8 ? 64 : 128;

/// run(D, drops) with the head size rounded up to one that there are kernels for. A kernel without dropout is
/// there for tensor cores only, which it would hold up.
template <class T, class Run>
void with_kernel_sizes(const AttentionSizes& s, Run run) {
  const auto with_dropout = [&](auto D) {
    if constexpr (on_tensor_cores<T>)
      if (s.dropout_rate == 0) return run(D, std::false_type{});
    run(D, std::true_type{});
  };
  if (s.D <= 16) return with_dropout(std::integral_constant<int, 16>{});
  if constexpr (sizeof(T) < 8) {
    if (s.D <= 32) return with_dropout(std::integral_constant<int, 32>{});
    if (s.D > 64) return with_dropout(std::integral_constant<int, 128>{});
  }
  with_dropout(std::integral_constant<int, 64>{});
}

/// Dynamic shared memory of the kernels, and the most that one takes with its static variables.
template <class T, int D>
struct SharedBytes {
  static constexpr size_t forward = SharedTiles<T, D>::bytes(own_tiles<T, D, QueryRows<T, D>>(1)),
                          queries = SharedTiles<T, D>::bytes(own_tiles<T, D, QueryRows<T, D>>(2)),
                          keys = SharedTiles<T, D>::bytes(own_tiles<T, D, KeyRows<T, D>>(2)),
                          most = std::max(queries, keys + 2 * tile * sizeof(acc_t<T>));
};

inline dim3 grid(const AttentionSizes& s) {
  return dim3(static_cast<unsigned>(s.B * s.H * ((s.T + tile - 1) / tile)));
}

/// The shared memory of a kernel. For more than 48 KiB, with its static variables, a kernel must be registered.
template <class Kernel>
size_t shared_bytes(Kernel kernel, size_t bytes) {
  if (bytes > 40 * 1024)
    CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  return bytes;
}

template <class T>
void forward(T* y, acc_t<T>* log2_sum, const T* qkv, const AttentionSizes& s) {
  with_kernel_sizes<T>(s, [&](auto D, auto drops) {
    launch(forward_kernel<T, D, drops>, grid(s), dim3(threads),
           shared_bytes(forward_kernel<T, D, drops>, SharedBytes<T, D>::forward), y, log2_sum, qkv, s);
  });
}

template <class T>
void backward(Accumulator<T> dqkv, const T* dy, const T* y, const acc_t<T>* log2_sum, const T* qkv,
              const AttentionSizes& s) {
  using A = acc_t<T>;
  const Tensor delta_memory({s.B, s.H, s.T}, dtype_of<A>());
  A* const delta = delta_memory.data<A>();
  with_kernel_sizes<T>(s, [&](auto D, auto drops) {
    launch(query_gradient_kernel<T, D, drops>, grid(s), dim3(threads),
           shared_bytes(query_gradient_kernel<T, D, drops>, SharedBytes<T, D>::queries), dqkv, delta, dy, y,
           log2_sum, qkv, s);
    launch(key_gradient_kernel<T, D, drops>, grid(s), dim3(threads),
           shared_bytes(key_gradient_kernel<T, D, drops>, SharedBytes<T, D>::keys), dqkv,
           static_cast<const A*>(delta), dy, log2_sum, qkv, s);
  });
}

}  // namespace ld::attention_flash
