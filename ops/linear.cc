#include "ops/linear.h"

#include "engine/gemm.h"
#include "ops/op.h"

namespace ld {
namespace {

// The product is then added to it: so y is rounded once, which counts in bfloat16.
template <class T>
void start_with_bias(T* y, const T* bias, int64_t rows, int64_t cols) {
  for_each_row(rows, cols,
               [=] KERNEL(int64_t r, auto row) { row.each([=](int64_t j) { y[r * cols + j] = bias[j]; }); });
}

}  // namespace

Var linear(const Var& x, const Var& weight, const Var& bias) {
  check_same_dtype("linear", x, weight);
  check(weight.shape().rank() == 2, "linear: weight has shape ", weight.shape(), ", expected (out, in)");
  const int64_t out = weight.size(0), in = weight.size(1);
  check(x.shape().rank() >= 1 && x.size(-1) == in, "linear: x has shape ", x.shape(), ", weight ",
        weight.shape(), "; the last dimensions must agree");
  if (bias) {
    check_same_dtype("linear", x, bias);
    check_shape("linear", "bias", bias, {out});
  }
  const int64_t rows = rows_of(x.value());
  Tensor y(x.shape().with_last(out), x.dtype());
  dispatch_float("linear", x.dtype(), [&](auto t) {
    using T = decltype(t);
    if (bias) start_with_bias(y.data<T>(), bias.value().data<T>(), rows, out);
    gemm<T>(rows, out, in, {x.value().data<T>(), in}, {weight.value().data<T>(), in, Transpose::yes},
            {y.data<T>(), !bias}, out);
  });
  Tensor saved_x = weight.requires_gradient() ? x.value() : Tensor();
  Tensor saved_w = x.requires_gradient() ? weight.value() : Tensor();
  DType dtype = x.dtype();
  return record("linear", {x, weight, bias}, y, [=](const Gradients& g) {
    dispatch_float("linear", dtype, [&](auto t) {
      using T = decltype(t);
      const T* dy = g.dy<T>();
      if (g.needs(0)) gemm<T>(rows, in, out, {dy, out}, {saved_w.data<T>(), in}, g.dx<T>(0), in);
      g.with_dx<T>(1, [&](auto dw) {
        gemm<T>(out, in, rows, {dy, out, Transpose::yes}, {saved_x.data<T>(), in}, dw, in);
      });
      g.with_dx<T>(2, [&](auto db) { add_up_rows(db, dy, rows, out); });
    });
  });
}

Tensor linear_unrounded(const Tensor& x, const Tensor& weight) {
  check(x.dtype() == weight.dtype() && weight.rank() == 2 && x.rank() >= 1 && x.size(-1) == weight.size(1),
        "linear_unrounded: x is ", x.dtype(), " ", x.shape(), ", weight ", weight.dtype(), " ",
        weight.shape(), ", expected (…, in) and (out, in) of one dtype");
  const int64_t out = weight.size(0), in = weight.size(1);
  Tensor y;
  dispatch_float("linear_unrounded", x.dtype(), [&](auto t) {
    using T = decltype(t);
    using A = acc_t<T>;
    y = Tensor(x.shape().with_last(out), dtype_of<A>());
    gemm<T, A>(rows_of(x), out, in, {x.data<T>(), in}, {weight.data<T>(), in, Transpose::yes},
               {y.data<A>(), true}, out);
  });
  return y;
}

}  // namespace ld
