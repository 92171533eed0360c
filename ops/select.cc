#include "ops/select.h"

#include "autograd/replay.h"
#include "ops/binary.h"
#include "ops/op.h"
#include "ops/unary.h"

namespace ld {
namespace {

enum class Comparison { less, less_equal, greater, greater_equal, equal };

template <Comparison comparison, class A>
HOST_AND_KERNEL bool holds(A a, A b) {
  switch (comparison) {
    case Comparison::less:
      return a < b;
    case Comparison::less_equal:
      return a <= b;
    case Comparison::greater:
      return a > b;
    case Comparison::greater_equal:
      return a >= b;
    case Comparison::equal:
      return a == b;
  }
  return false;
}

template <Comparison comparison, class T>
void compare_forward(T* y, const T* a, const T* b, int64_t n) {
  using A = acc_t<T>;
  for_each(n, [=] KERNEL(int64_t i) {
    y[i] = static_cast<T>(holds<comparison>(static_cast<A>(a[i]), static_cast<A>(b[i])) ? 1.0f : 0.0f);
  });
}

template <Comparison comparison>
Var compare(const char* name, const Var& a, const Var& b) {
  check_same_dtype(name, a, b);
  check_shape(name, "b", b, a.shape());
  Tensor y = Tensor::like(a.value());
  dispatch_float(name, a.dtype(), [&](auto t) {
    using T = decltype(t);
    compare_forward<comparison>(y.data<T>(), a.value().data<T>(), b.value().data<T>(), y.elements());
  });
  return Var(Replay::held_constant(y));
}

template <class T>
void at_least_forward(T* y, const T* x, acc_t<T> threshold, int64_t n) {
  for_each(n, [=] KERNEL(int64_t i) {
    y[i] = static_cast<T>(static_cast<acc_t<T>>(x[i]) >= threshold ? 1.0f : 0.0f);
  });
}

template <class T>
void select_forward(T* y, const T* condition, const T* a, const T* b, int64_t n) {
  for_each(n, [=] KERNEL(int64_t i) { y[i] = condition[i] != T(0) ? a[i] : b[i]; });
}

template <class T>
void select_backward(Accumulator<T> da, Accumulator<T> db, const T* dy, const T* condition, int64_t n) {
  using A = acc_t<T>;
  for_each(n, [=] KERNEL(int64_t i) {
    bool first = condition[i] != T(0);
    A d = static_cast<A>(dy[i]);
    if (da) da.add(i, first ? d : A(0));
    if (db) db.add(i, first ? A(0) : d);
  });
}

template <class T>
void uniform_forward(T* y, NoiseKey key, int64_t samples, int64_t per_sample) {
  for_each_row(samples, per_sample, [=] KERNEL(int64_t s, auto row) {
    row.each([=](int64_t j) { y[s * per_sample + j] = static_cast<T>(key.uniform(s, j)); });
  });
}

}  // namespace

Var detach(const Var& x) { return Var(Replay::held_constant(x.value())); }

Var less(const Var& a, const Var& b) { return compare<Comparison::less>("less", a, b); }
Var less_equal(const Var& a, const Var& b) { return compare<Comparison::less_equal>("less_equal", a, b); }
Var greater(const Var& a, const Var& b) { return compare<Comparison::greater>("greater", a, b); }
Var greater_equal(const Var& a, const Var& b) {
  return compare<Comparison::greater_equal>("greater_equal", a, b);
}
Var equal(const Var& a, const Var& b) { return compare<Comparison::equal>("equal", a, b); }

Var at_least(const Var& x, double threshold) {
  Tensor y = Tensor::like(x.value());
  dispatch_float("at_least", x.dtype(), [&](auto t) {
    using T = decltype(t);
    at_least_forward(y.data<T>(), x.value().data<T>(), static_cast<acc_t<T>>(threshold), y.elements());
  });
  return Var(Replay::held_constant(y));
}

Var select(const Var& condition, const Var& a, const Var& b) {
  refuse_gradient("select: condition", {condition});
  check_same_dtype("select", a, b);
  check_same_dtype("select", condition, a);
  check_shape("select", "b", b, a.shape());
  check_shape("select", "condition", condition, a.shape());
  Tensor y = Tensor::like(a.value()), saved = condition.value();
  dispatch_float("select", a.dtype(), [&](auto t) {
    using T = decltype(t);
    select_forward(y.data<T>(), saved.data<T>(), a.value().data<T>(), b.value().data<T>(), y.elements());
  });
  return record("select", {a, b}, y, [=](const Gradients& g) {
    dispatch_float("select", saved.dtype(), [&](auto t) {
      using T = decltype(t);
      auto da = g.dx<T>(0);  // in this order: with a and b the same Var, the first stores and the second adds
      auto db = g.dx<T>(1);
      select_backward(da, db, g.dy<T>(), saved.data<T>(), saved.elements());
    });
  });
}

Var uniform_noise(const Var& x, NoiseKey key) {
  Tensor y = Tensor::like(x.value());
  int64_t samples = x.shape().rank() > 0 ? x.size(0) : 1;
  dispatch_float("uniform_noise", x.dtype(), [&](auto t) {
    using T = decltype(t);
    uniform_forward(y.data<T>(), key, samples, y.elements() / std::max<int64_t>(samples, 1));
  });
  return Var(y);
}

Var round_by(const Var& up, const Var& m) {
  Var complement = detach(add_scalar(neg(m), 1.0));  // detach(1 − M)
  return select(up, add(m, complement), sub(m, detach(m)));
}

}  // namespace ld
