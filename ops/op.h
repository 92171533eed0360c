// What every op's .cc includes: the tape, the kernel shapes, elementary functions, and the checks that run
// before any kernel does. House rules for an op:
//   - the header states formula, derivative, shapes and what is saved; the .cc holds the kernels;
//   - the front function checks shapes and dtypes, naming both sides, then computes, then calls record();
//   - backward adds into its accumulators; a null accumulator means that gradient is not needed.
#pragma once

#include "autograd/tape.h"
#include "engine/kernel_shapes.h"
#include "engine/math.h"

namespace ld {

inline void check_same_dtype(const char* op, const Var& a, const Var& b) {
  check(a.dtype() == b.dtype(), op, ": operands have dtypes ", a.dtype(), " and ", b.dtype(),
        ", expected the same");
}

inline void check_shape(const char* op, const char* name, const Var& x, const Shape& expected) {
  check(x.shape() == expected, op, ": ", name, " has shape ", x.shape(), ", expected ", expected);
}

/// Number of rows when the last dimension is the row: also where a row has no elements.
inline int64_t rows_of(const Tensor& x) { return x.shape().without_last().elements(); }

/// out.add(c, Σ over rows of x[r][c]): the gradient of a bias, which every row had added.
template <class T, class Out>
void add_up_rows(Accumulator<Out> out, const T* x, int64_t rows, int64_t cols) {
  reduce_columns(out, rows, cols,
                 [=] KERNEL(int64_t r, int64_t c) { return static_cast<acc_t<T>>(x[r * cols + c]); });
}

}  // namespace ld
