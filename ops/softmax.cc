#include "ops/softmax.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void softmax_forward(T* y, const T* x, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T* xr = x + r * cols;
    const A largest = row.max([=](int64_t j) { return static_cast<A>(xr[j]); });
    const A total = row.sum([=](int64_t j) { return math::exp(static_cast<A>(xr[j]) - largest); });
    row.each([=](int64_t j) {
      y[r * cols + j] = static_cast<T>(math::exp(static_cast<A>(xr[j]) - largest) / total);
    });
  });
}

template <class T>
void softmax_backward(Accumulator<T> dx, const T* dy, const T* y, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T *dyr = dy + r * cols, *yr = y + r * cols;
    const A mean = row.sum([=](int64_t j) { return static_cast<A>(dyr[j]) * static_cast<A>(yr[j]); });
    row.each(
        [=](int64_t j) { dx.add(r * cols + j, static_cast<A>(yr[j]) * (static_cast<A>(dyr[j]) - mean)); });
  });
}

}  // namespace

Var softmax(const Var& x) {
  check(x.shape().rank() >= 1, "softmax: x has shape ", x.shape(), ", expected (…, C)");
  const int64_t rows = rows_of(x.value()), cols = x.size(-1);
  Tensor y = Tensor::like(x.value());
  dispatch_float("softmax", x.dtype(), [&](auto t) {
    using T = decltype(t);
    softmax_forward(y.data<T>(), x.value().data<T>(), rows, cols);
  });
  return record("softmax", {x}, y, [=](const Gradients& g) {
    dispatch_float("softmax", y.dtype(), [&](auto t) {
      using T = decltype(t);
      softmax_backward(g.dx<T>(0), g.dy<T>(), y.data<T>(), rows, cols);
    });
  });
}

}  // namespace ld
