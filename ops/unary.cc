#include "ops/unary.h"

#include "ops/op.h"

namespace ld {
namespace {

enum class Saves { nothing, x, y };

// A function is a value y = f(x) and a derivative df of what it saves for it: x, y or nothing. Parameters are members.
struct Scale {
  static constexpr Saves saves = Saves::nothing;
  double factor;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return static_cast<A>(factor) * x;
  }
  template <class A>
  HOST_AND_KERNEL A df() const {
    return static_cast<A>(factor);
  }
};
struct AddScalar {
  static constexpr Saves saves = Saves::nothing;
  double term;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x + static_cast<A>(term);
  }
  template <class A>
  HOST_AND_KERNEL A df() const {
    return A(1);
  }
};
struct Square {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x * x;
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return A(2) * x;
  }
};
struct Abs {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::abs(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return x > A(0) ? A(1) : x < A(0) ? A(-1) : x;  // x itself keeps 0 and NaN
  }
};
struct Exp {
  static constexpr Saves saves = Saves::y;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::exp(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A y) const {
    return y;
  }
};
struct Log {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::log(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return A(1) / x;
  }
};
struct Log2 {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::log2(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return A(math::log2_e) / x;
  }
};
struct Sqrt {
  static constexpr Saves saves = Saves::y;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sqrt(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A y) const {
    return A(0.5) / y;
  }
};
struct Sin {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sin(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return math::cos(x);
  }
};
struct Cos {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::cos(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    return -math::sin(x);
  }
};
struct Tanh {
  static constexpr Saves saves = Saves::y;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::tanh(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A y) const {
    return A(1) - y * y;
  }
};
struct Relu {
  static constexpr Saves saves = Saves::y;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x < A(0) ? A(0) : x;  // keeps NaN, which x > 0 ? x : 0 would lose
  }
  template <class A>
  HOST_AND_KERNEL A df(A y) const {
    return y > A(0) ? A(1) : y;
  }
};
struct Sigmoid {
  static constexpr Saves saves = Saves::y;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sigmoid(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A y) const {
    return y * (A(1) - y);
  }
};
struct Gelu {
  static constexpr Saves saves = Saves::x;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x * math::standard_normal(x).cumulative;
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    const auto normal = math::standard_normal(x);
    return normal.cumulative + x * normal.density;
  }
};
struct GeluTanh {
  static constexpr Saves saves = Saves::x;
  // ½(1 + tanh u) = σ(2u), u = √(2/π)(x + 0.044715x³). The sigmoid keeps its digits where the sum cancels.
  template <class A>
  HOST_AND_KERNEL static A gate(A x) {
    return math::sigmoid(A(1.5957691216057308) * x * (A(1) + A(0.044715) * x * x));
  }
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x * gate(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x) const {
    const A s = gate(x), slope = s * (A(1) - s);
    // Far out the slope of the gate is 0 and its factor may be infinite; their product is 0.
    const A bend = slope > A(0) ? slope * A(1.5957691216057308) * x * (A(1) + A(0.134145) * x * x) : A(0);
    return s + bend;
  }
};

template <class T, class Function>
void unary_forward(T* y, const T* x, int64_t n, Function function) {
  for_each(n, [=] KERNEL(int64_t i) { y[i] = static_cast<T>(function.f(static_cast<acc_t<T>>(x[i]))); });
}

template <class A, class T, class Function>
HOST_AND_KERNEL A derivative(const Function& function, [[maybe_unused]] const T* saved,
                             [[maybe_unused]] int64_t i) {
  if constexpr (Function::saves == Saves::nothing)
    return function.template df<A>();
  else
    return function.df(static_cast<A>(saved[i]));
}

template <class T, class Function>
void unary_backward(Accumulator<T> dx, const T* dy, const T* saved, int64_t n, Function function) {
  using A = acc_t<T>;
  for_each(n,
           [=] KERNEL(int64_t i) { dx.add(i, static_cast<A>(dy[i]) * derivative<A>(function, saved, i)); });
}

template <class Function>
Var unary(const char* name, const Var& x, Function function) {
  Tensor y = Tensor::like(x.value());
  dispatch_float(name, x.dtype(), [&](auto t) {
    using T = decltype(t);
    unary_forward(y.data<T>(), x.value().data<T>(), y.elements(), function);
  });
  const Tensor saved = Function::saves == Saves::x ? x.value() : Function::saves == Saves::y ? y : Tensor();
  return record(name, {x}, y, [=, dtype = y.dtype(), n = y.elements()](const Gradients& g) {
    dispatch_float(name, dtype, [&](auto t) {
      using T = decltype(t);
      unary_backward(g.dx<T>(0), g.dy<T>(), saved ? static_cast<const T*>(saved.data<T>()) : nullptr, n,
                     function);
    });
  });
}

}  // namespace

Var neg(const Var& x) { return unary("neg", x, Scale{-1.0}); }
Var scale(const Var& x, double factor) { return unary("scale", x, Scale{factor}); }
Var add_scalar(const Var& x, double term) { return unary("add_scalar", x, AddScalar{term}); }
Var square(const Var& x) { return unary("square", x, Square{}); }
Var abs(const Var& x) { return unary("abs", x, Abs{}); }
Var exp(const Var& x) { return unary("exp", x, Exp{}); }
Var log(const Var& x) { return unary("log", x, Log{}); }
Var log2(const Var& x) { return unary("log2", x, Log2{}); }
Var sqrt(const Var& x) { return unary("sqrt", x, Sqrt{}); }
Var sin(const Var& x) { return unary("sin", x, Sin{}); }
Var cos(const Var& x) { return unary("cos", x, Cos{}); }
Var tanh(const Var& x) { return unary("tanh", x, Tanh{}); }
Var relu(const Var& x) { return unary("relu", x, Relu{}); }
Var sigmoid(const Var& x) { return unary("sigmoid", x, Sigmoid{}); }
Var gelu(const Var& x) { return unary("gelu", x, Gelu{}); }
Var gelu_tanh(const Var& x) { return unary("gelu_tanh", x, GeluTanh{}); }

}  // namespace ld
