#include "ops/slice.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void slice_forward(T* y, const T* x, int64_t rows, int64_t cols, int64_t begin, int64_t count) {
  for_each_row(rows, count, [=] KERNEL(int64_t r, auto row) {
    row.each([=](int64_t j) { y[r * count + j] = x[r * cols + begin + j]; });
  });
}

template <class T>
void slice_backward(T* dx, const T* dy, int64_t rows, int64_t cols, int64_t begin, int64_t count) {
  for_each_row(rows, count, [=] KERNEL(int64_t r, auto row) {
    row.each([=](int64_t j) {
      T& d = dx[r * cols + begin + j];
      d = static_cast<T>(static_cast<acc_t<T>>(d) + static_cast<acc_t<T>>(dy[r * count + j]));
    });
  });
}

}  // namespace

Var slice(const Var& x, int64_t begin, int64_t count) {
  check(x.shape().rank() >= 1 && begin >= 0 && count >= 0 && begin + count <= x.size(-1), "slice: columns ", begin,
        " to ", begin + count, " of x, whose shape is ", x.shape());
  const int64_t rows = rows_of(x.value()), cols = x.size(-1);
  Tensor y(x.shape().with_last(count), x.dtype());
  DType dtype = x.dtype();
  dispatch_float("slice", dtype, [&](auto t) {
    using T = decltype(t);
    slice_forward(y.data<T>(), x.value().data<T>(), rows, cols, begin, count);
  });
  return record("slice", {x}, y, [=](const Gradients& g) {
    dispatch_float("slice", dtype, [&](auto t) {
      using T = decltype(t);
      slice_backward(g.dx_zeroed<T>(0), g.dy<T>(), rows, cols, begin, count);
    });
  });
}

}  // namespace ld
