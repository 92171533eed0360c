#include "ops/binary.h"

#include "ops/op.h"

namespace ld {
namespace {

// A function is a value f(a, b) and two derivatives; `*_reads_*` say which operands a derivative needs. An
// operand that it does not need may be given as 0.
struct Sum {
  static constexpr bool da_reads_a = false, da_reads_b = false, db_reads_a = false, db_reads_b = false;
  template <class A>
  HOST_AND_KERNEL static A f(A a, A b) {
    return a + b;
  }
  template <class A>
  HOST_AND_KERNEL static A da(A, A) {
    return A(1);
  }
  template <class A>
  HOST_AND_KERNEL static A db(A, A) {
    return A(1);
  }
};
struct Difference : Sum {
  template <class A>
  HOST_AND_KERNEL static A f(A a, A b) {
    return a - b;
  }
  template <class A>
  HOST_AND_KERNEL static A db(A, A) {
    return A(-1);
  }
};
struct Product {
  static constexpr bool da_reads_a = false, da_reads_b = true, db_reads_a = true, db_reads_b = false;
  template <class A>
  HOST_AND_KERNEL static A f(A a, A b) {
    return a * b;
  }
  template <class A>
  HOST_AND_KERNEL static A da(A, A b) {
    return b;
  }
  template <class A>
  HOST_AND_KERNEL static A db(A a, A) {
    return a;
  }
};
struct Quotient {
  static constexpr bool da_reads_a = false, da_reads_b = true, db_reads_a = true, db_reads_b = true;
  template <class A>
  HOST_AND_KERNEL static A f(A a, A b) {
    return a / b;
  }
  template <class A>
  HOST_AND_KERNEL static A da(A, A b) {
    return A(1) / b;
  }
  template <class A>
  HOST_AND_KERNEL static A db(A a, A b) {
    return -a / b / b;  // not a / (b·b), which overflows first
  }
};

// The larger shape, once it is clear that the smaller one is its end.
Shape paired_shape(const char* op, const Shape& a, const Shape& b) {
  const Shape& large = a.rank() >= b.rank() ? a : b;
  const Shape& small = a.rank() >= b.rank() ? b : a;
  for (int i = 1; i <= small.rank(); ++i)
    check(small[-i] == large[-i], op, ": shapes ", a, " and ", b,
          " do not match; the smaller must be the end of the larger");
  return large;
}

template <class Function, class T>
void pair_forward(T* y, const T* a, const T* b, int64_t na, int64_t nb) {
  using A = acc_t<T>;
  for_each_pair(na, nb, [=] KERNEL(int64_t i, int64_t ia, int64_t ib) {
    y[i] = static_cast<T>(Function::f(static_cast<A>(a[ia]), static_cast<A>(b[ib])));
  });
}

enum class Operand { a, b };

// The gradient of one operand, summed where it was repeated; an operand the derivative does not need is null.
template <class Function, Operand mine, class T, class Out>
void pair_backward(Accumulator<Out> d, const T* dy, const T* a, const T* b, int64_t na, int64_t nb) {
  using A = acc_t<T>;
  constexpr bool reads_a = mine == Operand::a ? Function::da_reads_a : Function::db_reads_a;
  constexpr bool reads_b = mine == Operand::a ? Function::da_reads_b : Function::db_reads_b;
  const int64_t n_mine = mine == Operand::a ? na : nb, n_other = mine == Operand::a ? nb : na;
  if (n_mine >= n_other && n_other > 0)
    return for_each_pair(na, nb, [=] KERNEL(int64_t i, int64_t ia, int64_t ib) {
      const A u = reads_a ? static_cast<A>(a[ia]) : A(0), v = reads_b ? static_cast<A>(b[ib]) : A(0);
      d.add(i, static_cast<A>(dy[i]) * (mine == Operand::a ? Function::da(u, v) : Function::db(u, v)));
    });
  reduce_columns(d, n_other / std::max<int64_t>(n_mine, 1), n_mine, [=] KERNEL(int64_t r, int64_t c) -> A {
    const int64_t i = r * n_mine + c, ia = mine == Operand::a ? c : i, ib = mine == Operand::b ? c : i;
    const A u = reads_a ? static_cast<A>(a[ia]) : A(0), v = reads_b ? static_cast<A>(b[ib]) : A(0);
    return static_cast<A>(dy[i]) * (mine == Operand::a ? Function::da(u, v) : Function::db(u, v));
  });
}

template <class Function>
Var pair(const char* name, const Var& a, const Var& b) {
  check_same_dtype(name, a, b);
  Tensor y(paired_shape(name, a.shape(), b.shape()), a.dtype());
  int64_t na = a.value().elements(), nb = b.value().elements();
  dispatch_float(name, a.dtype(), [&](auto t) {
    using T = decltype(t);
    pair_forward<Function>(y.data<T>(), a.value().data<T>(), b.value().data<T>(), na, nb);
  });
  const bool to_a = a.requires_gradient(), to_b = b.requires_gradient();
  const bool reads_a = (to_a && Function::da_reads_a) || (to_b && Function::db_reads_a);
  const bool reads_b = (to_a && Function::da_reads_b) || (to_b && Function::db_reads_b);
  Tensor saved_a = reads_a ? a.value() : Tensor(), saved_b = reads_b ? b.value() : Tensor();
  DType dtype = a.dtype();
  return record(name, {a, b}, y, [=](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      const T* a_values = saved_a ? saved_a.data<T>() : nullptr;
      const T* b_values = saved_b ? saved_b.data<T>() : nullptr;
      const T* dy = g.dy<T>();
      g.with_dx<T>(0,
                   [&](auto d) { pair_backward<Function, Operand::a>(d, dy, a_values, b_values, na, nb); });
      g.with_dx<T>(1,
                   [&](auto d) { pair_backward<Function, Operand::b>(d, dy, a_values, b_values, na, nb); });
    });
  });
}

}  // namespace

Var add(const Var& a, const Var& b) { return pair<Sum>("add", a, b); }
Var sub(const Var& a, const Var& b) { return pair<Difference>("sub", a, b); }
Var multiply(const Var& a, const Var& b) { return pair<Product>("multiply", a, b); }
Var div(const Var& a, const Var& b) { return pair<Quotient>("div", a, b); }

}  // namespace ld
