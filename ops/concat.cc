#include "ops/concat.h"

#include "ops/copy_columns.h"
#include "ops/op.h"

namespace ld {

Var concat(const std::vector<Var>& parts) {
  check(!parts.empty(), "concat: no parts given, expected at least one");
  const Var& first = parts.front();
  int64_t cols = 0;
  std::vector<int64_t> widths;
  for (size_t k = 0; k < parts.size(); ++k) {
    const Var& part = parts[k];
    check_same_dtype("concat", first, part);
    check(part.shape().rank() >= 1 && part.shape().rank() == first.shape().rank() &&
              part.shape().without_last() == first.shape().without_last(),
          "concat: part 0 has shape ", first.shape(), ", part ", k, " ", part.shape(),
          "; all dimensions but the last must agree");
    widths.push_back(part.size(-1));
    cols += part.size(-1);
  }
  Tensor y(first.shape().with_last(cols), first.dtype());
  const int64_t rows = rows_of(y);
  const DType dtype = y.dtype();
  dispatch_float("concat", dtype, [&](auto t) {
    using T = decltype(t);
    int64_t begin = 0;
    for (size_t k = 0; k < parts.size(); begin += widths[k++])
      copy_columns<T>({y.data<T>(), true}, {cols, begin}, parts[k].value().data<T>(), {widths[k], 0}, rows,
                      widths[k]);
  });
  return record("concat", parts, y, [=](const Gradients& g) {
    dispatch_float("concat", dtype, [&](auto t) {
      using T = decltype(t);
      int64_t begin = 0;
      for (size_t k = 0; k < widths.size(); begin += widths[k++])
        if (g.needs(k))
          copy_columns<T>(g.dx<T>(k), {widths[k], 0}, g.dy<T>(), {cols, begin}, rows, widths[k]);
    });
  });
}

std::vector<Var> split_last(const Var& x, int64_t n) {
  check(x.shape().rank() >= 1 && n > 0 && x.size(-1) % n == 0, "split_last: x has shape ", x.shape(),
        ", whose last size cannot be cut into ", n, " equal parts");
  const int64_t rows = rows_of(x.value()), cols = x.size(-1), width = cols / n;
  const DType dtype = x.dtype();
  std::vector<Tensor> parts;
  for (int64_t k = 0; k < n; ++k) parts.emplace_back(x.shape().with_last(width), dtype);
  dispatch_float("split_last", dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t k = 0; k < n; ++k)
      copy_columns<T>({parts[static_cast<size_t>(k)].data<T>(), true}, {width, 0}, x.value().data<T>(),
                      {cols, k * width}, rows, width);
  });
  return record("split_last", {x}, parts, [=](const Gradients& g) {
    dispatch_float("split_last", dtype, [&](auto t) {
      using T = decltype(t);
      const Accumulator<T> dx = g.dx<T>(0);
      for (int64_t k = 0; k < n; ++k)
        copy_columns<T>(dx, {cols, k * width}, g.dy<T>(static_cast<size_t>(k)), {width, 0}, rows, width);
    });
  });
}

}  // namespace ld
