#include "ops/softmax.h"

#include "ops/op.h"

namespace ld {
namespace {

/// How many elements of row r take part: all, or in a (T, T) matrix those up to the diagonal.
template <bool causal>
HOST_AND_KERNEL int64_t seen(int64_t r, int64_t cols) {
  return causal ? r % cols + 1 : cols;
}

template <bool causal, class T>
void softmax_forward(T* y, const T* x, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T* xr = x + r * cols;
    if (causal) row.each([=](int64_t j) { y[r * cols + j] = T(0); });  // nvcc: no lambda in an if constexpr
    row.cols = seen<causal>(r, cols);
    const A largest = row.max([=](int64_t j) { return static_cast<A>(xr[j]); });
    const A total = row.sum([=](int64_t j) { return math::exp(static_cast<A>(xr[j]) - largest); });
    row.each([=](int64_t j) {
      y[r * cols + j] = static_cast<T>(math::exp(static_cast<A>(xr[j]) - largest) / total);
    });
  });
}

template <bool causal, class T>
void softmax_backward(Accumulator<T> dx, const T* dy, const T* y, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T *dyr = dy + r * cols, *yr = y + r * cols;
    const int64_t n = seen<causal>(r, cols);
    row.cols = n;
    const A mean = row.sum([=](int64_t j) { return static_cast<A>(dyr[j]) * static_cast<A>(yr[j]); });
    row.cols = cols;  // an element that takes no part still gets its zero
    row.each([=](int64_t j) {
      dx.add(r * cols + j, j < n ? static_cast<A>(yr[j]) * (static_cast<A>(dyr[j]) - mean) : A(0));
    });
  });
}

template <bool causal>
Var softmax_of_rows(const char* name, const Var& x) {
  const int64_t rows = rows_of(x.value()), cols = x.size(-1);
  Tensor y = Tensor::like(x.value());
  dispatch_float(name, x.dtype(), [&](auto t) {
    using T = decltype(t);
    softmax_forward<causal>(y.data<T>(), x.value().data<T>(), rows, cols);
  });
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, y.dtype(), [&](auto t) {
      using T = decltype(t);
      softmax_backward<causal>(g.dx<T>(0), g.dy<T>(), static_cast<const T*>(y.data<T>()), rows, cols);
    });
  });
}

}  // namespace

Var softmax(const Var& x) {
  check(x.shape().rank() >= 1, "softmax: x has shape ", x.shape(), ", expected (…, C)");
  return softmax_of_rows<false>("softmax", x);
}

Var causal_softmax(const Var& x) {
  check(x.shape().rank() >= 2 && x.size(-1) == x.size(-2), "causal_softmax: x has shape ", x.shape(),
        ", expected (…, T, T)");
  return softmax_of_rows<true>("causal_softmax", x);
}

}  // namespace ld
