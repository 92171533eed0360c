// The loops a kernel body can be handed to. A body is a lambda marked KERNEL that captures by value:
//
//   for_each(n, [=] KERNEL(int64_t i) { y[i] = x[i] * x[i]; });
//
//   for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
//     auto sum = row.sum([=](int64_t j) { return x[r * cols + j]; });
//     row.each([=](int64_t j) { y[r * cols + j] = x[r * cols + j] / sum; });
//   });
//
// for_each         body(i) for every i < n, in any order
// for_each_row     body(r, row) once per row by a team (a SIMD loop, a warp); row.sum(f), row.max(f)
//                  give every member the same result, row.each(f) visits the columns, row.once(f) runs f once,
//                  row.uniforms(key, sample, first) gives each column its random number, faster than key does;
//                  one at a time in a row: the next call may take the memory of the last
// reduce_columns   out.add(c, sum over r < rows of body(r, c)), for every column c
// reduce_sum       out[0] = scale * sum over i < n of body(i)
// scatter_add_rows table[index[r]][c] += x[r][c], indices may repeat
//
// Every sum here has a fixed order that depends only on the sizes, never on timing or on the number of threads:
// two runs give the same bits. Nothing here waits for the device.
#pragma once

#include "engine/accumulator.h"
#include "engine/random.h"
#include "engine/tensor.h"

#ifdef ENGINE_CPU
#include "engine/kernel_shapes_cpu.h"
#else
#include "engine/kernel_shapes_gpu.h"
#endif

namespace ld {

/// out[0] = scale * (sum over i < n of body(i)): sums of chunks first, then the sum of those.
template <class T, class Body>
void reduce_sum(T* out, int64_t n, acc_t<T> scale, Body body) {
  constexpr int64_t chunk = 4096;
  int64_t chunks = (n + chunk - 1) / chunk;
  Tensor partial({chunks}, dtype_of<acc_t<T>>());
  auto* p = partial.data<acc_t<T>>();
  for_each_row(chunks, std::min(n, chunk), [=] KERNEL(int64_t r, auto row) {
    acc_t<T> sum = row.sum([=](int64_t j) -> acc_t<T> {
      int64_t i = r * chunk + j;
      return i < n ? static_cast<acc_t<T>>(body(i)) : acc_t<T>(0);
    });
    row.once([=] { p[r] = sum; });
  });
  for_each_row(1, chunks, [=] KERNEL(int64_t, auto row) {
    acc_t<T> sum = row.sum([=](int64_t j) { return p[j]; });
    row.once([=] { out[0] = static_cast<T>(scale * sum); });
  });
}

/// Two operands of an elementwise op, of which the smaller is a trailing vector or a scalar repeated along
/// the larger: body(i, ia, ib) for every i < max(na, nb), ia and ib the places in each operand.
template <class Body>
void for_each_pair(int64_t na, int64_t nb, Body body) {
  if (na == nb) return for_each(na, [=] KERNEL(int64_t i) { body(i, i, i); });
  int64_t cols = std::min(na, nb), rows = std::max(na, nb) / std::max<int64_t>(cols, 1);
  bool a_repeats = na < nb;
  if (cols == 1)
    return for_each(rows, [=] KERNEL(int64_t i) { body(i, a_repeats ? 0 : i, a_repeats ? i : 0); });
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    row.each([=](int64_t j) {
      body(r * cols + j, (a_repeats ? 0 : r * cols) + j, (a_repeats ? r * cols : 0) + j);
    });
  });
}

}  // namespace ld
