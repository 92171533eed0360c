#include "ops/convert.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class Out, class In>
void convert_kernel(Accumulator<Out> out, const In* in, int64_t n) {
  for_each(n, [=] KERNEL(int64_t i) { out.add(i, static_cast<acc_t<Out>>(static_cast<acc_t<In>>(in[i]))); });
}

}  // namespace

Var convert(const Var& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  const DType from = x.dtype();
  Tensor y;
  dispatch_float("convert: from", from, [&](auto in) {
    using In = decltype(in);
    dispatch_float("convert: to", dtype, [&](auto out) {
      using Out = decltype(out);
      y = Tensor(x.shape(), dtype);
      convert_kernel<Out>({y.data<Out>(), true}, x.value().data<In>(), y.elements());
    });
  });
  const int64_t n = y.elements();
  return record("convert", {x}, y, [=](const Gradients& g) {
    dispatch_float("convert", from, [&](auto in) {
      using In = decltype(in);
      dispatch_float("convert", dtype, [&](auto out) {
        using Out = decltype(out);
        convert_kernel(g.dx<In>(0), g.dy<Out>(), n);
      });
    });
  });
}

}  // namespace ld
