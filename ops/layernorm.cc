#include "ops/layernorm.h"

#include "ops/op.h"

namespace ld {
namespace {

// x is what is normalised. If there is something to add to it, `sum` is where that is written first.
template <class T>
void layernorm_forward(T* y, acc_t<T>* mean, acc_t<T>* rstd, T* sum, const T* x, const T* to_add, const T* w,
                       const T* b, acc_t<T> eps, int64_t rows, int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const int64_t at = r * cols;
    if (to_add)
      row.each([=](int64_t j) {
        sum[at + j] = static_cast<T>(static_cast<A>(x[at + j]) + static_cast<A>(to_add[at + j]));
      });
    const T* xr = (to_add ? sum : x) + at;
    T* yr = y + at;
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

// dsum, unless it is null, is the gradient that x has got already; it is handed on with this one. Where x is a
// sum, both its terms get the gradient; they may be one and the same.
template <class T>
void layernorm_backward_x(Accumulator<T> dx, Accumulator<T> d_added, const T* dsum, const T* dy,
                          const acc_t<T>* mean, const acc_t<T>* rstd, const T* x, const T* w, int64_t rows,
                          int64_t cols) {
  using A = acc_t<T>;
  for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
    const int64_t at = r * cols;
    const T *xr = x + at, *dyr = dy + at;
    const A m = mean[r], s = rstd[r], n = static_cast<A>(cols);
    auto g = [=](int64_t j) { return static_cast<A>(dyr[j]) * static_cast<A>(w[j]); };
    auto normalised = [=](int64_t j) { return (static_cast<A>(xr[j]) - m) * s; };
    const A mean_g = row.sum(g) / n;
    const A mean_gx = row.sum([=](int64_t j) { return g(j) * normalised(j); }) / n;
    auto gradient = [=](int64_t j) { return s * (g(j) - mean_g - normalised(j) * mean_gx); };
    auto give = [=](Accumulator<T> to) {
      if (dsum)
        row.each([=](int64_t j) { to.add(at + j, static_cast<A>(dsum[at + j]) + gradient(j)); });
      else
        row.each([=](int64_t j) { to.add(at + j, gradient(j)); });
    };
    if (dx) give(dx);
    if (d_added) give(d_added);
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

/// layernorm of x, or, if there is something to add, of the sum, which is then the first output.
std::vector<Var> layernorm_of(const char* op, const Var& x, const Var& to_add, const Var& weight,
                              const Var& bias, double eps) {
  check(x.shape().rank() >= 1 && x.size(-1) > 0, op, ": x has shape ", x.shape(),
        ", expected (…, C) with C > 0");
  check_same_dtype(op, x, weight);
  const int64_t cols = x.size(-1), rows = rows_of(x.value());
  check_shape(op, "weight", weight, {cols});
  if (bias) {
    check_same_dtype(op, x, bias);
    check_shape(op, "bias", bias, {cols});
  }
  if (to_add) {
    check_same_dtype(op, x, to_add);
    check_shape(op, "to_add", to_add, x.shape());
  }
  const Tensor y = Tensor::like(x.value()), sum = to_add ? Tensor::like(x.value()) : x.value(),
               saved_w = weight.value();
  Tensor mean, rstd;
  dispatch_float(op, x.dtype(), [&](auto t) {
    using T = decltype(t);
    mean = Tensor({rows}, dtype_of<acc_t<T>>());
    rstd = Tensor({rows}, dtype_of<acc_t<T>>());
    layernorm_forward<T>(y.data<T>(), mean.data<acc_t<T>>(), rstd.data<acc_t<T>>(), sum.data<T>(),
                         x.value().data<T>(), to_add ? to_add.value().data<T>() : nullptr, saved_w.data<T>(),
                         bias ? bias.value().data<T>() : nullptr, static_cast<acc_t<T>>(eps), rows, cols);
  });
  const bool adds = static_cast<bool>(to_add);
  auto backward = [=](const Gradients& g) {
    dispatch_float(op, sum.dtype(), [&](auto t) {
      using T = decltype(t);
      const T *dsum = adds ? g.dy<T>(0) : nullptr, *dy = g.dy<T>(adds ? 1 : 0);
      const Tensor nothing = dy ? Tensor() : Tensor::zeros(sum.shape(), sum.dtype());
      if (!dy) dy = nothing.data<T>();
      const auto *m = mean.data<acc_t<T>>(), *s = rstd.data<acc_t<T>>();
      const Accumulator<T> dx = g.dx<T>(0), d_added = adds ? g.dx<T>(3) : Accumulator<T>{};  // in this order
      if (dx || d_added)
        layernorm_backward_x<T>(dx, d_added, dsum, dy, m, s, sum.data<T>(), saved_w.data<T>(), rows, cols);
      g.with_dx<T>(1, [&](auto dw) { layernorm_backward_w<T>(dw, dy, m, s, sum.data<T>(), rows, cols); });
      g.with_dx<T>(2, [&](auto db) { add_up_rows(db, dy, rows, cols); });
    });
  };
  return record(op, {x, weight, bias, to_add}, adds ? std::vector{sum, y} : std::vector{y}, backward);
}

}  // namespace

Var layernorm(const Var& x, const Var& weight, const Var& bias, double eps) {
  return layernorm_of("layernorm", x, {}, weight, bias, eps).front();
}

SumAndNorm add_layernorm(const Var& x, const Var& to_add, const Var& weight, const Var& bias, double eps) {
  check(static_cast<bool>(to_add), "add_layernorm: there is nothing to add; see layernorm");
  const std::vector<Var> both = layernorm_of("add_layernorm", x, to_add, weight, bias, eps);
  return {both[0], both[1]};
}

}  // namespace ld
