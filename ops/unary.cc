#include "ops/unary.h"

#include "ops/op.h"

namespace ld {
namespace {

// A function is a value f(x) and a derivative df(x, y), y = f(x), that reads one of the two at most: the one
// that is saved. Parameters are members.
struct Scale {
  double factor;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return static_cast<A>(factor) * x;
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A) const {
    return static_cast<A>(factor);
  }
};
struct AddScalar {
  double term;
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x + static_cast<A>(term);
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A) const {
    return A(1);
  }
};
struct Square {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x * x;
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return A(2) * x;
  }
};
struct Abs {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::abs(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return x > A(0) ? A(1) : x < A(0) ? A(-1) : x;  // x itself keeps 0 and NaN
  }
};
struct Exp {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::exp(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A y) const {
    return y;
  }
};
struct Log {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::log(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return A(1) / x;
  }
};
struct Log2 {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::log2(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return A(math::log2_e) / x;
  }
};
struct Sqrt {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sqrt(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A y) const {
    return A(0.5) / y;
  }
};
struct Sin {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sin(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return math::cos(x);
  }
};
struct Cos {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::cos(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    return -math::sin(x);
  }
};
struct Tanh {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::tanh(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A y) const {
    return A(1) - y * y;
  }
};
struct Relu {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x < A(0) ? A(0) : x;  // keeps NaN, which x > 0 ? x : 0 would lose
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A y) const {
    return y > A(0) ? A(1) : y;
  }
};
struct Sigmoid {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return math::sigmoid(x);
  }
  template <class A>
  HOST_AND_KERNEL A df(A, A y) const {
    return y * (A(1) - y);
  }
};
struct Gelu {
  template <class A>
  HOST_AND_KERNEL A f(A x) const {
    return x * math::standard_normal(x).cumulative;
  }
  template <class A>
  HOST_AND_KERNEL A df(A x, A) const {
    const auto normal = math::standard_normal(x);
    return normal.cumulative + x * normal.density;
  }
};
struct GeluTanh {
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
  HOST_AND_KERNEL A df(A x, A) const {
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

template <class T, class Function>
void unary_backward(Accumulator<T> dx, const T* dy, const T* saved, int64_t n, Function function) {
  for_each(n, [=] KERNEL(int64_t i) {
    const acc_t<T> x_or_y = static_cast<acc_t<T>>(saved[i]);
    dx.add(i, static_cast<acc_t<T>>(dy[i]) * function.df(x_or_y, x_or_y));
  });
}

enum class Saves { x, y };

template <class Function>
Var unary(const char* name, const Var& x, Function function, Saves saves = Saves::x) {
  Tensor y = Tensor::like(x.value());
  dispatch_float(name, x.dtype(), [&](auto t) {
    using T = decltype(t);
    unary_forward(y.data<T>(), x.value().data<T>(), y.elements(), function);
  });
  Tensor saved = saves == Saves::x ? x.value() : y;
  return record(name, {x}, y, [=](const Gradients& g) {
    dispatch_float(name, saved.dtype(), [&](auto t) {
      using T = decltype(t);
      unary_backward(g.dx<T>(0), g.dy<T>(), static_cast<const T*>(saved.data<T>()), saved.elements(),
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
Var exp(const Var& x) { return unary("exp", x, Exp{}, Saves::y); }
Var log(const Var& x) { return unary("log", x, Log{}); }
Var log2(const Var& x) { return unary("log2", x, Log2{}); }
Var sqrt(const Var& x) { return unary("sqrt", x, Sqrt{}, Saves::y); }
Var sin(const Var& x) { return unary("sin", x, Sin{}); }
Var cos(const Var& x) { return unary("cos", x, Cos{}); }
Var tanh(const Var& x) { return unary("tanh", x, Tanh{}, Saves::y); }
Var relu(const Var& x) { return unary("relu", x, Relu{}, Saves::y); }
Var sigmoid(const Var& x) { return unary("sigmoid", x, Sigmoid{}, Saves::y); }
Var gelu(const Var& x) { return unary("gelu", x, Gelu{}); }
Var gelu_tanh(const Var& x) { return unary("gelu_tanh", x, GeluTanh{}); }

}  // namespace ld
