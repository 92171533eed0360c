// Matrix products: C = A·B or C += A·B, row-major, either operand transposed, one or many at a time.
// On the CPU float32 and bfloat16 are oneDNN (the fastest CPU library measured at these shapes), but for a
// single row, which is a loop of our own; on CUDA all is cuBLAS; float64 serves gradient checks and is a plain
// loop on the CPU; the emulated device uses that loop for every type. Products of bfloat16 numbers are summed
// in float32 everywhere and rounded once, when C is written; C may also be float32, for sums that go on.
#pragma once

#include <cstdint>

#include "engine/accumulator.h"

namespace ld {

enum class Transpose : bool { no, yes };

/// One matrix of a product: `ld` elements from one stored row to the next, `stride` from one matrix of a
/// batch to the next.
template <class T>
struct Matrix {
  const T* data;
  int64_t ld;
  Transpose transpose = Transpose::no;
  int64_t stride = 0;
};

/// c (m, n) = or += op(a) (m, k) · op(b) (k, n), `batch` times. `c.empty` says whether c is stored or added to; ldc and
/// stride_c are to c what `ld` and `stride` are to a Matrix. Out is T, or acc_t<T>: gemm<bfloat16, float>. The caller has
/// checked sizes; c overlaps neither factor. Error: the library refuses, and on CUDA a size of 2³¹ or more. On the CPU
/// another number of threads may change last bits (docs/speed.md).
template <class T, class Out = T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Accumulator<Out> c, int64_t ldc,
          int64_t batch = 1, int64_t stride_c = 0);

}  // namespace ld
