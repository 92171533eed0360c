// The kernel shapes on the CPU: OpenMP threads over fixed blocks, SIMD inside. See kernel_shapes.h.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/uniform_line.h"

namespace ld {

// Work is cut into blocks of this many elements whatever the number of threads, so that an element falls into
// the same place of the same SIMD loop on every machine of a kind, and gets the same bits.
inline constexpr int64_t cpu_block = 4096;
// Below this many elements a second thread costs more than it brings.
inline constexpr int64_t cpu_serial = 16384;

template <class Body>
void for_each(int64_t n, Body body) {
  int64_t blocks = (n + cpu_block - 1) / cpu_block;
#pragma omp parallel for schedule(static) if (n > cpu_serial)
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t end = std::min(n, (b + 1) * cpu_block);
#pragma omp simd
    for (int64_t i = b * cpu_block; i < end; ++i) body(i);
  }
}

/// A whole row worked on by one thread.
struct CpuRow {
  int64_t cols;

  /// u(j) is number first + j of the sample. One at a time in a row.
  auto uniforms(const NoiseKey& key, int64_t sample, int64_t first) const {
    const float* line = uniform_line(key, sample, first, cols);
    return [line](int64_t j) { return line[j]; };
  }

  template <class F>
  auto sum(F f) const {
    using Sum = decltype(f(int64_t{}));
    Sum total{};
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < cols; ++j) total += f(j);
    return total;
  }
  template <class F>
  auto max(F f) const {
    using Value = decltype(f(int64_t{}));
    Value best = -std::numeric_limits<Value>::infinity();
    Value nans = 0;  // a NaN must win, and a plain maximum loses it
#pragma omp simd reduction(max : best) reduction(+ : nans)
    for (int64_t j = 0; j < cols; ++j) {
      Value v = f(j);
      best = v > best ? v : best;
      nans += v != v ? Value(1) : Value(0);
    }
    return nans > 0 ? std::numeric_limits<Value>::quiet_NaN() : best;
  }
  template <class F>
  void each(F f) const {
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) f(j);
  }
  template <class F>
  void once(F f) const {
    f();
  }
};

template <class Body>
void for_each_row(int64_t rows, int64_t cols, Body body) {
#pragma omp parallel for schedule(static) if (rows > 1 && rows * cols > cpu_serial)
  for (int64_t r = 0; r < rows; ++r) body(r, CpuRow{cols});
}

template <class T, class Body>
void reduce_columns(Accumulator<T> out, int64_t rows, int64_t cols, Body body) {
  constexpr int64_t chunk = 256;  // rows summed by one thread into one line of partial sums
  int64_t chunks = (rows + chunk - 1) / chunk;
  Tensor partial({chunks, cols}, dtype_of<acc_t<T>>());
  auto* p = partial.template data<acc_t<T>>();
#pragma omp parallel for schedule(static) if (rows * cols > cpu_serial)
  for (int64_t k = 0; k < chunks; ++k) {
    acc_t<T>* line = p + k * cols;
    std::fill(line, line + cols, acc_t<T>(0));
    for (int64_t r = k * chunk; r < std::min(rows, (k + 1) * chunk); ++r) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) line[c] += body(r, c);
    }
  }
  for_each(cols, [=](int64_t c) {
    acc_t<T> sum = 0;
    for (int64_t k = 0; k < chunks; ++k) sum += p[k * cols + c];
    out.add(c, sum);
  });
}

/// table (V, cols) += rows of x (rows, cols) at index (rows); the table's memory must hold values already.
/// The rows of one index are summed first, in their order, and added to the table once: in bfloat16 a
/// frequent index would otherwise stop growing after 256 equal contributions.
template <class T, class Out>
void scatter_add_rows(Accumulator<Out> table, const int32_t* index, const T* x, int64_t rows, int64_t cols) {
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [=](int64_t a, int64_t b) { return index[a] < index[b]; });
  // Threads share the columns, not the rows: each table element is then added to by one thread.
  constexpr int64_t slice = 16;
  int64_t slices = (cols + slice - 1) / slice;
#pragma omp parallel for schedule(static) if (rows * cols > cpu_serial)
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t begin = s * slice, width = std::min(cols - begin, slice);
    for (size_t next = 0; next < order.size();) {
      const int32_t row = index[order[next]];
      acc_t<T> sum[slice] = {};
      for (; next < order.size() && index[order[next]] == row; ++next) {
        const T* from = x + order[next] * cols + begin;
        for (int64_t c = 0; c < width; ++c) sum[c] += static_cast<acc_t<T>>(from[c]);
      }
      for (int64_t c = 0; c < width; ++c) table.add(row * cols + begin + c, sum[c]);
    }
  }
}

}  // namespace ld
