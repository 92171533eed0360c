// Attention on the GPU: attention_flash.h for every head size that a model trains with, and for wider ones (more
// than 128 columns, 64 in float64), or where the GPU has too little shared memory for it, the plain form below: a
// warp per query row, and in backward also a warp per key row, so that every gradient element is summed by one
// warp in a fixed order. Scores are computed by one thread per key; products with v, k, q and dy by one thread
// per column, the probabilities passing from lane to lane.
#pragma once

#include <limits>

#include "engine/kernel_shapes.h"
#include "engine/math.h"
#include "ops/attention_flash.h"
#include "ops/attention_kernel.h"

namespace ld {
namespace attention_gpu {

using attention_flash::all_lanes;
inline constexpr int max_columns = 8;  // columns a lane holds: head sizes up to 256
inline constexpr unsigned block = 128;

template <class A, class T>
__device__ A dot(const T* a, const T* b, int64_t n) {
  A sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += static_cast<A>(a[d]) * static_cast<A>(b[d]);
  return sum;
}

/// sum[c] += Σ over the 32 lanes of weight(lane) · rows[lane][column of mine]; `rows` lie `stride` apart.
template <class A, class T>
__device__ void add_weighted_rows(A* sum, A weight, const T* rows, int64_t stride, int64_t n, int64_t D,
                                  int lane) {
  for (int source = 0; source < 32; ++source) {
    A w = __shfl_sync(all_lanes, weight, source);
    if (source >= n) continue;
    for (int c = 0; c * 32 + lane < D; ++c)
      sum[c] += w * static_cast<A>(rows[source * stride + c * 32 + lane]);
  }
}

/// Which row a warp works on.
struct RowOfWarp {
  int64_t b, h, t;
  int lane;
  bool valid;
  __device__ explicit RowOfWarp(const AttentionSizes& s) : lane(static_cast<int>(threadIdx.x % 32)) {
    int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    valid = row < s.B * s.H * s.T;
    t = row % s.T;
    h = row / s.T % s.H;
    b = row / s.T / s.H;
  }
};

template <class T>
__global__ void forward_kernel(T* y, acc_t<T>* log_sum, const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  RowOfWarp at(s);
  if (!at.valid) return;
  const int64_t stride = 3 * s.C();
  const T *q = qkv + s.qkv(at.b, at.t, at.h), *k = qkv + s.qkv(at.b, 0, at.h) + s.C(), *v = k + s.C();
  const A factor = A(1) / math::sqrt(static_cast<A>(s.D));
  auto score = [&](int64_t j) { return factor * dot<A>(q, k + j * stride, s.D); };

  A largest = -std::numeric_limits<A>::infinity();
  for (int64_t j = at.lane; j <= at.t; j += 32) {
    largest = larger(score(j), largest);
  }
  largest = warp_max(largest);
  A total = 0;
  for (int64_t j = at.lane; j <= at.t; j += 32) total += math::exp(score(j) - largest);
  total = warp_sum(total);

  A sum[max_columns] = {};
  for (int64_t j0 = 0; j0 <= at.t; j0 += 32) {
    int64_t j = j0 + at.lane;
    A p = j <= at.t ? math::exp(score(j) - largest) / total * s.keep<A>(at.b, at.h, at.t, j) : A(0);
    add_weighted_rows(sum, p, v + j0 * stride, stride, at.t + 1 - j0, s.D, at.lane);
  }
  for (int c = 0; c * 32 + at.lane < s.D; ++c)
    y[s.out(at.b, at.t, at.h) + c * 32 + at.lane] = static_cast<T>(sum[c]);
  if (at.lane == 0) log_sum[s.row(at.b, at.t, at.h)] = largest + math::log(total);
}

/// P̃_ij and dS_ij.
template <class A>
struct Pair {
  A p = 0, ds = 0;
};
template <class T>
__device__ Pair<acc_t<T>> pair_of(const T* qkv, const T* dy, acc_t<T> log_sum, acc_t<T> delta,
                                  const AttentionSizes& s, int64_t b, int64_t h, int64_t i, int64_t j) {
  using A = acc_t<T>;
  const T *q = qkv + s.qkv(b, i, h), *k = qkv + s.qkv(b, j, h) + s.C(), *v = k + s.C();
  const A factor = A(1) / math::sqrt(static_cast<A>(s.D));
  const A p = math::exp(factor * dot<A>(q, k, s.D) - log_sum), keep = s.keep<A>(b, h, i, j);
  const A dp = keep * dot<A>(dy + s.out(b, i, h), v, s.D);
  return {keep * p, p * (dp - delta)};
}

template <class T>
__global__ void backward_query_kernel(Accumulator<T> dqkv, acc_t<T>* delta, const T* dy, const T* y,
                                      const acc_t<T>* log_sum, const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  RowOfWarp at(s);
  if (!at.valid) return;
  const int64_t stride = 3 * s.C(), row = s.row(at.b, at.t, at.h), out = s.out(at.b, at.t, at.h);
  const T* k = qkv + s.qkv(at.b, 0, at.h) + s.C();
  const A d = dot<A>(dy + out, y + out, s.D), log_total = log_sum[row];
  if (at.lane == 0) delta[row] = d;
  A dq[max_columns] = {};
  for (int64_t j0 = 0; j0 <= at.t; j0 += 32) {
    int64_t j = j0 + at.lane;
    A ds = j <= at.t ? pair_of(qkv, dy, log_total, d, s, at.b, at.h, at.t, j).ds : A(0);
    add_weighted_rows(dq, ds, k + j0 * stride, stride, at.t + 1 - j0, s.D, at.lane);
  }
  const A factor = A(1) / math::sqrt(static_cast<A>(s.D));
  for (int c = 0; c * 32 + at.lane < s.D; ++c)
    dqkv.add(s.qkv(at.b, at.t, at.h) + c * 32 + at.lane, factor * dq[c]);
}

template <class T>
__global__ void backward_key_kernel(Accumulator<T> dqkv, const acc_t<T>* delta, const T* dy,
                                    const acc_t<T>* log_sum, const T* qkv, AttentionSizes s) {
  using A = acc_t<T>;
  RowOfWarp at(s);  // t is the key j here
  if (!at.valid) return;
  A dk[max_columns] = {}, dv[max_columns] = {};
  for (int64_t i0 = at.t; i0 < s.T; i0 += 32) {
    int64_t i = i0 + at.lane, row = s.row(at.b, i, at.h);
    Pair<A> pair;
    if (i < s.T) pair = pair_of(qkv, dy, log_sum[row], delta[row], s, at.b, at.h, i, at.t);
    add_weighted_rows(dk, pair.ds, qkv + s.qkv(at.b, i0, at.h), 3 * s.C(), s.T - i0, s.D, at.lane);
    add_weighted_rows(dv, pair.p, dy + s.out(at.b, i0, at.h), s.C(), s.T - i0, s.D, at.lane);
  }
  const A factor = A(1) / math::sqrt(static_cast<A>(s.D));
  for (int c = 0; c * 32 + at.lane < s.D; ++c) {
    int64_t k = s.qkv(at.b, at.t, at.h) + s.C() + c * 32 + at.lane;
    dqkv.add(k, factor * dk[c]);
    dqkv.add(k + s.C(), dv[c]);
  }
}

inline dim3 grid(const AttentionSizes& s) {
  check(s.D <= 32 * max_columns, "attention: head size ", s.D, " is more than ", 32 * max_columns,
        ", the most that the GPU kernel has room for; use more heads (head size = width / heads)");
  return dim3(static_cast<unsigned>((s.B * s.H * s.T + block / 32 - 1) / (block / 32)));
}

/// Whether attention_flash.h can do it, where a block may have `shared_limit` bytes. float32 beyond 64 columns
/// takes 137.5 KiB, float64 beyond 16 takes 142.
template <class T>
bool fits_flash(const AttentionSizes& s, size_t shared_limit) {
  using namespace attention_flash;
  if (s.D > most_columns<T>) return false;
  bool fits = false;
  with_kernel_sizes<T>(s, [&](auto D, auto) { fits = SharedBytes<T, D>::most <= shared_limit; });
  return fits;
}
/// The same for the GPU at hand: an H100 has 227 KiB, an A100 163, GPUs of capability 8.6 or 8.9 have 99.
template <class T>
bool fits_flash(const AttentionSizes& s) {
  static const auto shared_limit = [] {
    int bytes = 0;
    CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    return static_cast<size_t>(bytes);
  }();
  return fits_flash<T>(s, shared_limit);
}

}  // namespace attention_gpu

// log_sum is to base 2 in attention_flash and to base e in the plain kernels; forward and backward choose alike.
template <class T>
void attention_forward(T* y, acc_t<T>* log_sum, const T* qkv, const AttentionSizes& s) {
  using namespace attention_gpu;
  if (fits_flash<T>(s)) return attention_flash::forward(y, log_sum, qkv, s);
  launch(forward_kernel<T>, grid(s), dim3(block), 0, y, log_sum, qkv, s);
}

template <class T>
void attention_backward(Accumulator<T> dqkv, const T* dy, const T* y, const acc_t<T>* log_sum, const T* qkv,
                        const AttentionSizes& s) {
  using namespace attention_gpu;
  if (fits_flash<T>(s)) return attention_flash::backward(dqkv, dy, y, log_sum, qkv, s);
  Tensor delta({s.B, s.H, s.T}, dtype_of<acc_t<T>>());
  auto* d = delta.data<acc_t<T>>();
  launch(backward_query_kernel<T>, grid(s), dim3(block), 0, dqkv, d, dy, y, log_sum, qkv, s);
  launch(backward_key_kernel<T>, grid(s), dim3(block), 0, dqkv, static_cast<const acc_t<T>*>(d), dy, log_sum,
         qkv, s);
}

}  // namespace ld
