#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/kernel_shapes.h"
#include "engine/math.h"

namespace ld {
namespace {

// The factors of one update, computed in double: 1 − β and 1 − lr·λ would lose digits in float.
template <class A>
struct Update {
  A beta1, one_minus_beta1;
  A beta2, one_minus_beta2;
  A epsilon;
  A kept;          // 1 − lr·λ
  A rate;          // lr / (1 − β₁ᵗ)
  A v_correction;  // 1 / (1 − β₂ᵗ)
  A gradient_scale;
};

template <class A>
Update<A> update_factors(const AdamWOptions& o, double lr, bool decays, int64_t updates,
                         double gradient_scale) {
  const auto t = static_cast<double>(updates);
  return {.beta1 = static_cast<A>(o.beta1),
          .one_minus_beta1 = static_cast<A>(1 - o.beta1),
          .beta2 = static_cast<A>(o.beta2),
          .one_minus_beta2 = static_cast<A>(1 - o.beta2),
          .epsilon = static_cast<A>(o.epsilon),
          .kept = static_cast<A>(decays ? 1 - lr * o.weight_decay : 1),
          .rate = static_cast<A>(lr / (1 - std::pow(o.beta1, t))),
          .v_correction = static_cast<A>(1 / (1 - std::pow(o.beta2, t))),
          .gradient_scale = static_cast<A>(gradient_scale)};
}

// `copy` is what the model reads of p, rounded; null where that is p itself.
template <class T>
void adamw(T* p, bfloat16* copy, T* m, T* v, const T* g, int64_t n, const Update<T> u) {
  for_each(n, [=] KERNEL(int64_t i) {
    const T gradient = u.gradient_scale * g[i];
    const T first = u.beta1 * m[i] + u.one_minus_beta1 * gradient;
    const T second = u.beta2 * v[i] + u.one_minus_beta2 * gradient * gradient;
    m[i] = first;
    v[i] = second;
    p[i] = u.kept * p[i] - u.rate * first / (math::sqrt(second * u.v_correction) + u.epsilon);
    if (copy) copy[i] = static_cast<bfloat16>(static_cast<float>(p[i]));
  });
}

template <class T>
void update(const Parameter& parameter, const Tensor& gradient, AdamW::Moments& moments,
            const Update<T>& factors) {
  adamw(parameter.master.data<T>(), parameter.has_copy() ? parameter.var.value().data<bfloat16>() : nullptr,
        moments.m.data<T>(), moments.v.data<T>(), static_cast<const T*>(gradient.data<T>()),
        gradient.elements(), factors);
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
    : parameters_(parameters), options_(options), moments_(parameters.all().size()) {
  const auto is_rate = [](double beta) { return beta >= 0 && beta < 1; };
  check(is_rate(options.beta1) && is_rate(options.beta2), "adamw: beta1 is ", options.beta1, " and beta2 ",
        options.beta2, ", expected both in [0, 1)");
  check(options.epsilon > 0, "adamw: epsilon is ", options.epsilon, ", expected above 0");
}

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
    if (!moments.m) {
      MemoryScope scope(MemoryUse::optimizer);
      moments.m = Tensor::zeros(gradient.shape(), gradient.dtype());
      moments.v = Tensor::zeros(gradient.shape(), gradient.dtype());
    }
    ++moments.updates;
    auto factors = [&]<class A>(A) {
      return update_factors<A>(options_, lr * parameter.lr_factor, parameter.decays, moments.updates,
                               gradient_scale);
    };
    if (gradient.dtype() == DType::float64)
      update(parameter, gradient, moments, factors(double()));
    else
      update(parameter, gradient, moments, factors(float()));
  }
}

double clip_factor(double norm, double limit) {
  return limit == 0 ? 1 : std::min(1.0, limit / (norm + 1e-6));
}

}  // namespace ld
