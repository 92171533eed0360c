#include "ops/reduce.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void sum_forward(acc_t<T>* y, const T* x, int64_t n, acc_t<T> factor) {
  reduce_sum<acc_t<T>>(y, n, factor, [=] KERNEL(int64_t i) { return static_cast<acc_t<T>>(x[i]); });
}

template <class T>
void sum_backward(Accumulator<T> dx, const acc_t<T>* dy, int64_t n, acc_t<T> factor) {
  for_each(n, [=] KERNEL(int64_t i) { dx.add(i, factor * dy[0]); });
}

Var scaled_sum(const char* name, const Var& x, double factor) {
  const int64_t n = x.value().elements();
  check(n > 0, name, ": x has shape ", x.shape(), ", which holds no elements");
  const DType dtype = x.dtype();
  Tensor y;
  dispatch_float(name, dtype, [&](auto t) {
    using T = decltype(t);
    y = Tensor(Shape{}, dtype_of<acc_t<T>>());
    sum_forward(y.data<acc_t<T>>(), x.value().data<T>(), n, static_cast<acc_t<T>>(factor));
  });
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      sum_backward(g.dx<T>(0), g.dy<acc_t<T>>(), n, static_cast<acc_t<T>>(factor));
    });
  });
}

template <class T>
void sum_last_forward(T* y, const T* x, int64_t rows, int64_t cols, acc_t<T> factor) {
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const acc_t<T> sum = row.sum([=](int64_t j) { return static_cast<acc_t<T>>(x[r * cols + j]); });
    row.once([=] { y[r] = static_cast<T>(factor * sum); });
  });
}

template <class T>
void sum_last_backward(Accumulator<T> dx, const T* dy, int64_t rows, int64_t cols, acc_t<T> factor) {
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const acc_t<T> d = factor * static_cast<acc_t<T>>(dy[r]);
    row.each([=](int64_t j) { dx.add(r * cols + j, d); });
  });
}

Var scaled_sum_last(const char* name, const Var& x, double factor) {
  Tensor y(x.shape().without_last(), x.dtype());
  const int64_t rows = y.elements(), cols = x.size(-1);
  const DType dtype = x.dtype();
  dispatch_float(name, dtype, [&](auto t) {
    using T = decltype(t);
    sum_last_forward(y.data<T>(), x.value().data<T>(), rows, cols, static_cast<acc_t<T>>(factor));
  });
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      sum_last_backward(g.dx<T>(0), g.dy<T>(), rows, cols, static_cast<acc_t<T>>(factor));
    });
  });
}

}  // namespace

Var sum(const Var& x) { return scaled_sum("sum", x, 1.0); }
Var mean(const Var& x) {
  return scaled_sum("mean", x, 1.0 / static_cast<double>(std::max<int64_t>(x.value().elements(), 1)));
}

Var sum_last(const Var& x) {
  check(x.shape().rank() >= 1, "sum_last: x has shape ", x.shape(), ", expected (…, C)");
  return scaled_sum_last("sum_last", x, 1.0);
}
Var mean_last(const Var& x) {
  check(x.shape().rank() >= 1 && x.size(-1) > 0, "mean_last: x has shape ", x.shape(),
        ", expected (…, C) with C > 0");
  return scaled_sum_last("mean_last", x, 1.0 / static_cast<double>(x.size(-1)));
}

}  // namespace ld
