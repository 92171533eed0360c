#include "ops/slice.h"

#include "ops/copy_columns.h"
#include "ops/op.h"

namespace ld {

Var slice(const Var& x, int64_t begin, int64_t count) {
  check(x.shape().rank() >= 1 && begin >= 0 && count >= 0 && begin + count <= x.size(-1), "slice: columns ",
        begin, " to ", begin + count, " of x, whose shape is ", x.shape());
  const int64_t rows = rows_of(x.value()), cols = x.size(-1);
  Tensor y(x.shape().with_last(count), x.dtype());
  DType dtype = x.dtype();
  dispatch_float("slice", dtype, [&](auto t) {
    using T = decltype(t);
    copy_columns<T>({y.data<T>(), true}, {count, 0}, x.value().data<T>(), {cols, begin}, rows, count);
  });
  return record("slice", {x}, y, [=](const Gradients& g) {
    dispatch_float("slice", dtype, [&](auto t) {
      using T = decltype(t);
      const T* dy = g.dy<T>();
      g.with_dx_zeroed<T>(0, [&](auto d) { copy_columns(d, {cols, begin}, dy, {count, 0}, rows, count); });
    });
  });
}

}  // namespace ld
