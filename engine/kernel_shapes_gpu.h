// The kernel shapes on the GPU: the same contracts as on the CPU (kernel_shapes.h), by CUDA threads.
#pragma once

#include <algorithm>
#include <limits>

#include "engine/launch.h"

namespace ld {

inline constexpr int gpu_block = 256;
inline constexpr int64_t gpu_max_blocks = 65535;

inline int64_t gpu_blocks(int64_t work, int64_t per_block) {
  return std::clamp<int64_t>((work + per_block - 1) / per_block, 1, gpu_max_blocks);
}

template <class Body>
__global__ void for_each_kernel(int64_t n, Body body) {
  int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) body(i);
}

template <class Body>
void for_each(int64_t n, Body body) {
  if (n == 0) return;
  launch(for_each_kernel<Body>, dim3(static_cast<unsigned>(gpu_blocks(n, gpu_block))), dim3(gpu_block), 0, n,
         body);
}

/// The same to all 32 threads of a warp: the sum of what each brings, in a fixed order.
template <class Value>
__device__ Value warp_sum(Value mine) {
  for (int offset = 16; offset > 0; offset /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, offset);
  return mine;
}
template <class Value>
__device__ Value larger(Value a, Value b) {
  return a != a || a > b ? a : b;  // keeps a NaN
}
/// Likewise the largest.
template <class Value>
__device__ Value warp_max(Value mine) {
  for (int offset = 16; offset > 0; offset /= 2)
    mine = larger(mine, __shfl_xor_sync(0xffffffffu, mine, offset));
  return mine;
}

/// A row worked on by the 32 threads of a warp.
struct WarpRow {
  int64_t cols;

  template <class F>
  __device__ auto sum(F f) const {
    using Sum = decltype(f(int64_t{}));
    Sum total{};
    for (int64_t j = lane(); j < cols; j += 32) total += f(j);
    return warp_sum(total);
  }
  template <class F>
  __device__ auto max(F f) const {
    using Value = decltype(f(int64_t{}));
    Value best = -std::numeric_limits<Value>::infinity();
    for (int64_t j = lane(); j < cols; j += 32) best = larger(best, f(j));
    return warp_max(best);
  }
  __device__ auto uniforms(const NoiseKey& key, int64_t sample, int64_t first) const {
    return [key = key.resolved(), sample, first](int64_t j) { return key.uniform(sample, first + j); };
  }
  template <class F>
  __device__ void each(F f) const {
    for (int64_t j = lane(); j < cols; j += 32) f(j);
  }
  template <class F>
  __device__ void once(F f) const {
    if (lane() == 0) f();
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x % 32); }
};

template <class Body>
__global__ void for_each_row_kernel(int64_t rows, int64_t cols, Body body) {
  int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  int64_t warp = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  for (int64_t r = warp; r < rows; r += warps) body(r, WarpRow{cols});
}

template <class Body>
void for_each_row(int64_t rows, int64_t cols, Body body) {
  if (rows == 0) return;
  unsigned block = rows < 4 ? 32 : 128;
  launch(for_each_row_kernel<Body>, dim3(static_cast<unsigned>(gpu_blocks(rows, block / 32))), dim3(block), 0,
         rows, cols, body);
}

inline constexpr int reduce_lines = 8;  // lines of 32 threads in a block of the column reduction

/// partial[k][c] = sum of the k-th chunk of rows; one block per (32 columns, chunk).
template <class T, class Body>
__global__ void reduce_columns_kernel(acc_t<T>* partial, int64_t rows, int64_t cols, int64_t chunk,
                                      Body body) {
  STATIC_SHARED(acc_t<T>, lines, [reduce_lines][32]);
  int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  int64_t begin = blockIdx.y * chunk, end = begin + chunk < rows ? begin + chunk : rows;
  acc_t<T> sum = 0;
  if (c < cols)
    for (int64_t r = begin + threadIdx.y; r < end; r += reduce_lines) sum += body(r, c);
  lines[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && c < cols) {
    for (int k = 1; k < reduce_lines; ++k) sum += lines[k][threadIdx.x];
    partial[blockIdx.y * cols + c] = sum;
  }
}

template <class T, class Body>
void reduce_columns(Accumulator<T> out, int64_t rows, int64_t cols, Body body) {
  if (cols == 0) return;
  int64_t chunks = std::clamp<int64_t>(rows / 64, 1, 128);
  int64_t chunk = (rows + chunks - 1) / chunks;
  Tensor partial({chunks, cols}, dtype_of<acc_t<T>>());
  auto* p = partial.template data<acc_t<T>>();
  launch(reduce_columns_kernel<T, Body>,
         dim3(static_cast<unsigned>((cols + 31) / 32), static_cast<unsigned>(chunks)), dim3(32, reduce_lines),
         0, p, rows, cols, chunk, body);
  for_each(cols, [=] KERNEL(int64_t c) {
    acc_t<T> sum = 0;
    for (int64_t k = 0; k < chunks; ++k) sum += p[k * cols + c];
    out.add(c, sum);
  });
}

/// table (V, cols) += rows of x (rows, cols) at index (rows). No atomics: the warp of the first row with a
/// given index sums all rows of that index, in order, and adds the sum to the table once (in bfloat16 a
/// frequent index would otherwise stop growing). The search reads rows² / 2 indices, all from cache.
template <class T, class Out>
void scatter_add_rows(Accumulator<Out> table, const int32_t* index, const T* x, int64_t rows, int64_t cols) {
  constexpr int64_t held = 8;  // columns summed by one thread: the indices are read once for 256 columns
  for_each_row(rows, rows, [=] KERNEL(int64_t r, auto row) {
    int32_t mine = index[r];
    int64_t earlier = row.sum([=](int64_t j) -> int64_t { return j < r && index[j] == mine; });
    if (earlier > 0) return;  // the same for the whole warp
    auto threads = row;
    threads.cols = (cols + held - 1) / held;
    threads.each([=](int64_t u) {
      const int64_t begin = u * held;
      acc_t<T> sum[held] = {};
      for (int64_t j = r; j < rows; ++j) {
        if (index[j] != mine) continue;
        for (int64_t c = 0; c < held; ++c)
          if (begin + c < cols) sum[c] += static_cast<acc_t<T>>(x[j * cols + begin + c]);
      }
      for (int64_t c = 0; c < held; ++c)
        if (begin + c < cols) table.add(mine * cols + begin + c, sum[c]);
    });
  });
}

}  // namespace ld
