#include "ops/dropout.h"

#include "ops/op.h"

namespace ld {
namespace {

// One function for both directions: what is kept of x, or of dy.
template <class T>
void dropout_kernel(Accumulator<T> out, const T* in, double drop, NoiseKey key, int64_t samples,
                    int64_t rows_per_sample, int64_t cols) {
  using A = acc_t<T>;
  const A factor = static_cast<A>(1.0 / (1.0 - drop));
  const auto rate = static_cast<float>(drop);
  for_each_row(samples * rows_per_sample, cols, [=] KERNEL(int64_t r, auto row) {
    const int64_t sample = r / rows_per_sample, first = r % rows_per_sample * cols;
    const auto uniform = row.uniforms(key, sample, first);
    row.each([=](int64_t j) {
      A kept = uniform(j) >= rate ? factor : A(0);
      out.add(r * cols + j, kept * static_cast<A>(in[r * cols + j]));
    });
  });
}

}  // namespace

Var dropout(const Var& x, double rate, NoiseKey key) {
  check(rate >= 0 && rate < 1, "dropout: rate ", rate, " is not in [0, 1)");
  check(x.shape().rank() >= 2, "dropout: x has shape ", x.shape(), ", expected (samples, …, C)");
  if (rate == 0) return x;
  Tensor y = Tensor::like(x.value());
  const int64_t samples = x.size(0), cols = x.size(-1), rows = samples == 0 ? 0 : rows_of(y) / samples;
  dispatch_float("dropout", x.dtype(), [&](auto t) {
    using T = decltype(t);
    dropout_kernel<T>({y.data<T>(), true}, x.value().data<T>(), rate, key, samples, rows, cols);
  });
  DType dtype = x.dtype();
  return record("dropout", {x}, y, [=](const Gradients& g) {
    dispatch_float("dropout", dtype, [&](auto t) {
      using T = decltype(t);
      dropout_kernel<T>(g.dx<T>(0), g.dy<T>(), rate, key, samples, rows, cols);
    });
  });
}

}  // namespace ld
