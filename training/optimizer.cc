#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/kernel_shapes.h"
#include "engine/math.h"

namespace ld {
namespace {

template <class A>
struct Update {
  A beta1, beta2, epsilon, decay, rate, v_correction,
      gradient_scale;  // decay = lr·λ, rate = lr/(1 − β₁ᵗ), 1/(1 − β₂ᵗ)
};

template <class T>
void adamw(T* p, acc_t<T>* m, acc_t<T>* v, const T* g, int64_t n, const Update<acc_t<T>> u) {
  using A = acc_t<T>;
  for_each(n, [=] KERNEL(int64_t i) {
    const A gradient = u.gradient_scale * static_cast<A>(g[i]);
    const A first = u.beta1 * m[i] + (A(1) - u.beta1) * gradient;
    const A second = u.beta2 * v[i] + (A(1) - u.beta2) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    const A kept = static_cast<A>(p[i]) * (A(1) - u.decay);
    p[i] = static_cast<T>(kept - u.rate * first / (math::sqrt(second * u.v_correction) + u.epsilon));
  });
}

// In float64, in which no square of a float32 overflows.
template <class T>
void sum_of_squares(double* out, const T* g, int64_t n) {
  reduce_sum<double>(out, n, 1.0, [=] KERNEL(int64_t i) {
    const auto gradient = static_cast<double>(g[i]);
    return gradient * gradient;
  });
}

}  // namespace

AdamW::AdamW(const Parameters& parameters, const AdamWOptions& options)
    : parameters_(parameters), options_(options), moments_(parameters.all().size()) {}

double AdamW::gradient_norm() const {
  const auto& all = parameters_.all();
  Tensor squares = Tensor::zeros({static_cast<int64_t>(all.size())}, DType::float64);
  for (size_t k = 0; k < all.size(); ++k) {
    const Tensor gradient = all[k].var.gradient();
    if (!gradient) continue;
    dispatch_float("gradient_norm", gradient.dtype(), [&](auto t) {
      using T = decltype(t);
      sum_of_squares(squares.data<double>() + k, gradient.data<T>(), gradient.elements());
    });
  }
  const std::vector<double> parts = squares.to_vector();
  return std::sqrt(std::accumulate(parts.begin(), parts.end(), 0.0));
}

void AdamW::step(double lr, double gradient_scale) {
  for (size_t k = 0; k < moments_.size(); ++k) {
    const Parameter& parameter = parameters_.all()[k];
    const Tensor gradient = parameter.var.gradient();
    if (!gradient) continue;
    Moments& moments = moments_[k];
    const Tensor& value = parameter.var.value();
    dispatch_float("adamw", value.dtype(), [&](auto t) {
      using T = decltype(t);
      using A = acc_t<T>;
      if (!moments.m) {
        MemoryScope scope(MemoryUse::optimizer);
        moments.m = Tensor::zeros(value.shape(), dtype_of<A>());
        moments.v = Tensor::zeros(value.shape(), dtype_of<A>());
      }
      const auto updates = static_cast<double>(++moments.updates);
      const Update<A> u{static_cast<A>(options_.beta1),
                        static_cast<A>(options_.beta2),
                        static_cast<A>(options_.epsilon),
                        static_cast<A>(parameter.decays ? lr * options_.weight_decay : 0),
                        static_cast<A>(lr / (1 - std::pow(options_.beta1, updates))),
                        static_cast<A>(1 / (1 - std::pow(options_.beta2, updates))),
                        static_cast<A>(gradient_scale)};
      adamw(value.data<T>(), moments.m.data<A>(), moments.v.data<A>(), gradient.data<T>(), value.elements(),
            u);
    });
  }
}

double clip_factor(double norm, double limit) {
  return limit == 0 ? 1 : std::min(1.0, limit / (norm + 1e-6));
}

}  // namespace ld
