#include "ops/binary.h"

#include "ops/op.h"

namespace ld {
namespace {

enum class Pairing { sum, difference, product };

// The larger shape, once it is clear that the smaller one is its end.
Shape paired_shape(const char* op, const Shape& a, const Shape& b) {
  const Shape& large = a.rank() >= b.rank() ? a : b;
  const Shape& small = a.rank() >= b.rank() ? b : a;
  for (int i = 1; i <= small.rank(); ++i)
    check(small[-i] == large[-i], op, ": shapes ", a, " and ", b,
          " do not match; the smaller must be the end of the larger");
  return large;
}

template <Pairing pairing, class T>
void pair_forward(T* y, const T* a, const T* b, int64_t na, int64_t nb) {
  using A = acc_t<T>;
  for_each_pair(na, nb, [=] KERNEL(int64_t i, int64_t ia, int64_t ib) {
    A u = static_cast<A>(a[ia]), v = static_cast<A>(b[ib]);
    y[i] = static_cast<T>(pairing == Pairing::sum ? u + v : pairing == Pairing::difference ? u - v : u * v);
  });
}

// d (n_mine) += factor · dy ⊙ other (other null: factor · dy alone), summed where my operand was repeated.
template <class T>
void pair_backward(Accumulator<T> d, const T* dy, const T* other, acc_t<T> factor, int64_t n_mine, int64_t n_other) {
  using A = acc_t<T>;
  if (n_mine >= n_other && n_other > 0)
    return for_each_pair(n_mine, n_other, [=] KERNEL(int64_t i, int64_t, int64_t io) {
      d.add(i, factor * static_cast<A>(dy[i]) * (other ? static_cast<A>(other[io]) : A(1)));
    });
  reduce_columns<T>(d, n_other / std::max<int64_t>(n_mine, 1), n_mine, [=] KERNEL(int64_t r, int64_t c) -> A {
    int64_t i = r * n_mine + c;
    return factor * static_cast<A>(dy[i]) * (other ? static_cast<A>(other[i]) : A(1));
  });
}

template <Pairing pairing>
Var pair(const char* name, const Var& a, const Var& b) {
  check_same_dtype(name, a, b);
  Tensor y(paired_shape(name, a.shape(), b.shape()), a.dtype());
  int64_t na = a.value().elements(), nb = b.value().elements();
  dispatch_float(name, a.dtype(), [&](auto t) {
    using T = decltype(t);
    pair_forward<pairing>(y.data<T>(), a.value().data<T>(), b.value().data<T>(), na, nb);
  });
  constexpr bool product = pairing == Pairing::product;
  Tensor saved_a = product && b.requires_gradient() ? a.value() : Tensor();
  Tensor saved_b = product && a.requires_gradient() ? b.value() : Tensor();
  DType dtype = a.dtype();
  return record(name, {a, b}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      acc_t<T> sign_b = pairing == Pairing::difference ? acc_t<T>(-1) : acc_t<T>(1);
      auto values = [](const Tensor& saved) { return saved ? saved.data<T>() : nullptr; };
      if (g.needs(0)) pair_backward(g.dx<T>(0), g.dy<T>(), values(saved_b), acc_t<T>(1), na, nb);
      if (g.needs(1)) pair_backward(g.dx<T>(1), g.dy<T>(), values(saved_a), sign_b, nb, na);
    });
  });
}

}  // namespace

Var add(const Var& a, const Var& b) { return pair<Pairing::sum>("add", a, b); }
Var sub(const Var& a, const Var& b) { return pair<Pairing::difference>("sub", a, b); }
Var multiply(const Var& a, const Var& b) { return pair<Pairing::product>("multiply", a, b); }

}  // namespace ld
