#include "ops/reduce.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void sum_forward(T* y, const T* x, int64_t n, acc_t<T> factor) {
  reduce_sum<T>(y, n, factor, [=] KERNEL(int64_t i) { return static_cast<acc_t<T>>(x[i]); });
}

template <class T>
void sum_backward(Accumulator<T> dx, const T* dy, int64_t n, acc_t<T> factor) {
  for_each(n, [=] KERNEL(int64_t i) { dx.add(i, factor * static_cast<acc_t<T>>(dy[0])); });
}

Var scaled_sum(const char* name, const Var& x, double factor) {
  Tensor y(Shape{}, x.dtype());
  int64_t n = x.value().elements();
  check(n > 0, name, ": x has shape ", x.shape(), ", which holds no elements");
  DType dtype = x.dtype();
  dispatch_float(name, dtype, [&](auto t) {
    using T = decltype(t);
    sum_forward(y.data<T>(), x.value().data<T>(), n, static_cast<acc_t<T>>(factor));
  });
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      sum_backward(g.dx<T>(0), g.dy<T>(), n, static_cast<acc_t<T>>(factor));
    });
  });
}

}  // namespace

Var sum(const Var& x) { return scaled_sum("sum", x, 1.0); }
Var mean(const Var& x) { return scaled_sum("mean", x, 1.0 / static_cast<double>(std::max<int64_t>(x.value().elements(), 1))); }

}  // namespace ld
