#include "ops/layernorm.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void layernorm_forward(T* y, acc_t<T>* mean, acc_t<T>* rstd, const T* x, const T* w, const T* b, acc_t<T> eps,
                       int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T* xr = x + r * cols;
    T* yr = y + r * cols;
    const A n = static_cast<A>(cols);
    const A m = row.sum([=](int64_t j) { return static_cast<A>(xr[j]); }) / n;
    const A variance = row.sum([=](int64_t j) {
      A centred = static_cast<A>(xr[j]) - m;
      return centred * centred;
    }) / n;
    const A s = A(1) / math::sqrt(variance + eps);
    row.each([=](int64_t j) {
      A normalised = (static_cast<A>(xr[j]) - m) * s;
      yr[j] = static_cast<T>(normalised * static_cast<A>(w[j]) + (b ? static_cast<A>(b[j]) : A(0)));
    });
    row.once([=] {
      mean[r] = m;
      rstd[r] = s;
    });
  });
}

template <class T>
void layernorm_backward_x(Accumulator<T> dx, const T* dy, const acc_t<T>* mean, const acc_t<T>* rstd,
                          const T* x, const T* w, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const T* xr = x + r * cols;
    const T* dyr = dy + r * cols;
    const A m = mean[r], s = rstd[r], n = static_cast<A>(cols);
    auto g = [=](int64_t j) { return static_cast<A>(dyr[j]) * static_cast<A>(w[j]); };
    auto normalised = [=](int64_t j) { return (static_cast<A>(xr[j]) - m) * s; };
    const A mean_g = row.sum(g) / n;
    const A mean_gx = row.sum([=](int64_t j) { return g(j) * normalised(j); }) / n;
    row.each([=](int64_t j) { dx.add(r * cols + j, s * (g(j) - mean_g - normalised(j) * mean_gx)); });
  });
}

template <class T, class Out>
void layernorm_backward_w(Accumulator<Out> dw, const T* dy, const acc_t<T>* mean, const acc_t<T>* rstd,
                          const T* x, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  reduce_columns(dw, rows, cols, [=] KERNEL(int64_t r, int64_t c) {
    return static_cast<A>(dy[r * cols + c]) * (static_cast<A>(x[r * cols + c]) - mean[r]) * rstd[r];
  });
}

}  // namespace

Var layernorm(const Var& x, const Var& weight, const Var& bias, double eps) {
  check(x.shape().rank() >= 1 && x.size(-1) > 0, "layernorm: x has shape ", x.shape(),
        ", expected (…, C) with C > 0");
  check_same_dtype("layernorm", x, weight);
  const int64_t cols = x.size(-1), rows = rows_of(x.value());
  check_shape("layernorm", "weight", weight, {cols});
  if (bias) {
    check_same_dtype("layernorm", x, bias);
    check_shape("layernorm", "bias", bias, {cols});
  }
  Tensor y = Tensor::like(x.value()), saved_x = x.value(), saved_w = weight.value(), mean, rstd;
  dispatch_float("layernorm", x.dtype(), [&](auto t) {
    using T = decltype(t);
    mean = Tensor({rows}, dtype_of<acc_t<T>>());
    rstd = Tensor({rows}, dtype_of<acc_t<T>>());
    layernorm_forward(y.data<T>(), mean.data<acc_t<T>>(), rstd.data<acc_t<T>>(), saved_x.data<T>(),
                      saved_w.data<T>(), bias ? bias.value().data<T>() : nullptr, static_cast<acc_t<T>>(eps),
                      rows, cols);
  });
  return record("layernorm", {x, weight, bias}, y, [=](const Gradients& g) {
    dispatch_float("layernorm", saved_x.dtype(), [&](auto t) {
      using T = decltype(t);
      const T* dy = g.dy<T>();
      const auto *m = mean.data<acc_t<T>>(), *s = rstd.data<acc_t<T>>();
      if (g.needs(0))
        layernorm_backward_x(g.dx<T>(0), dy, m, s, saved_x.data<T>(), saved_w.data<T>(), rows, cols);
      g.with_dx<T>(1, [&](auto dw) { layernorm_backward_w(dw, dy, m, s, saved_x.data<T>(), rows, cols); });
      g.with_dx<T>(2, [&](auto db) { add_up_rows(db, dy, rows, cols); });
    });
  });
}

}  // namespace ld
