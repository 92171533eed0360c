#include "ops/layout.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void add_elements(Accumulator<T> out, const T* in, int64_t n) {
  for_each(n, [=] KERNEL(int64_t i) { out.add(i, static_cast<acc_t<T>>(in[i])); });
}

// out (B, N, M, D) of in (B, M, N, D): split_heads with M = T, N = H, merge_heads with the two exchanged, and
// each the other's gradient.
template <class T>
void swap_middle(Accumulator<T> out, const T* in, int64_t B, int64_t M, int64_t N, int64_t D) {
  for_each_row(B * M * N, D, [=] KERNEL(int64_t r, auto row) {
    const int64_t b = r / (M * N), n = r / M % N, m = r % M;
    const T* from = in + ((b * M + m) * N + n) * D;
    row.each([=](int64_t d) { out.add(r * D + d, static_cast<acc_t<T>>(from[d])); });
  });
}

Var swap(const char* name, const Var& x, const Shape& shape, int64_t B, int64_t M, int64_t N, int64_t D) {
  Tensor y(shape, x.dtype());
  const DType dtype = x.dtype();
  dispatch_float(name, dtype, [&](auto t) {
    using T = decltype(t);
    swap_middle<T>({y.data<T>(), true}, x.value().data<T>(), B, M, N, D);
  });
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      swap_middle<T>(g.dx<T>(0), g.dy<T>(), B, N, M, D);
    });
  });
}

}  // namespace

Var reshape(const Var& x, const Shape& shape) {
  const int64_t n = x.value().elements();
  const DType dtype = x.dtype();
  return record("reshape", {x}, x.value().reshaped(shape), [=](const Gradients& g) {
    dispatch_float("reshape", dtype, [&](auto t) {
      using T = decltype(t);
      add_elements(g.dx<T>(0), g.dy<T>(), n);
    });
  });
}

Var split_heads(const Var& x, int64_t n_head) {
  check(x.shape().rank() == 3 && n_head > 0 && x.size(2) % n_head == 0, "split_heads: x has shape ",
        x.shape(), ", expected (B, T, C) with C a multiple of ", n_head, " heads");
  const int64_t B = x.size(0), T = x.size(1), D = x.size(2) / n_head;
  return swap("split_heads", x, {B, n_head, T, D}, B, T, n_head, D);
}

Var merge_heads(const Var& x) {
  check(x.shape().rank() == 4, "merge_heads: x has shape ", x.shape(), ", expected (B, H, T, D)");
  const int64_t B = x.size(0), H = x.size(1), T = x.size(2), D = x.size(3);
  return swap("merge_heads", x, {B, T, H * D}, B, H, T, D);
}

}  // namespace ld
