#include "training/optimizer.h"

#include <cmath>
#include <limits>

#include "engine/kernel_shapes.h"
#include "engine/math.h"

namespace ld {
namespace {

// What a kernel works on at a time, of one parameter.
constexpr int64_t piece = 2048;

template <class T>
struct NormLine {
  const T* g;  // null: no gradient
  int64_t n;
};

// One parameter's update. The factors are computed in double: 1 − lr·λ would lose digits in float.
template <class T>
struct UpdateLine {
  T* p;
  bfloat16* copy;  // what the model reads of p, rounded; null where that is p itself
  T *m, *v;
  const T* g;  // null: no gradient, no update
  int64_t n;
  T kept;          // 1 − lr·λ
  T rate;          // lr / (1 − β₁ᵗ)
  T v_correction;  // 1 / (1 − β₂ᵗ)
};

// The same for all parameters.
template <class T>
struct Betas {
  T beta1, one_minus_beta1;
  T beta2, one_minus_beta2;
  T epsilon;
};

// body(line, row, begin, r) for every piece r of a parameter that has a gradient; row has the columns of the
// piece, whose first is element `begin`.
template <class Line, class Body>
void for_each_piece(const Line* lines, const Tensor& pieces, Body body) {
  const int32_t* places = pieces.data<int32_t>();
  for_each_row(pieces.size(0), piece, [=] KERNEL(int64_t r, auto row) {
    const Line line = lines[places[2 * r]];
    if (!line.g) return;
    const int64_t begin = piece * places[2 * r + 1], rest = line.n - begin;
    row.cols = rest < piece ? rest : piece;
    body(line, row, begin, r);
  });
}

// In float64, in which no square of a float32 overflows. `partial` holds a zero for each piece.
template <class T>
void euclidean_norm(double* norm, double* partial, const NormLine<T>* lines, const Tensor& pieces) {
  for_each_piece(lines, pieces, [=] KERNEL(const NormLine<T>& line, auto row, int64_t begin, int64_t r) {
    const T* g = line.g + begin;
    const double sum = row.sum([=](int64_t j) {
      const auto gradient = static_cast<double>(g[j]);
      return gradient * gradient;
    });
    row.once([=] { partial[r] = sum; });
  });
  for_each_row(1, pieces.size(0), [=] KERNEL(int64_t, auto row) {
    const double sum = row.sum([=](int64_t j) { return partial[j]; });
    row.once([=] { norm[0] = math::sqrt(sum); });
  });
}

template <class T>
void adamw(const UpdateLine<T>* lines, const Tensor& pieces, const double* gradient_scale, Betas<T> b) {
  for_each_piece(lines, pieces, [=] KERNEL(const UpdateLine<T>& line, auto row, int64_t begin, int64_t) {
    const T scale = gradient_scale ? static_cast<T>(gradient_scale[0]) : T(1);
    if (scale != scale) return;
    T *p = line.p + begin, *m = line.m + begin, *v = line.v + begin;
    bfloat16* copy = line.copy ? line.copy + begin : nullptr;
    const T* g = line.g + begin;
    const T kept = line.kept, rate = line.rate, v_correction = line.v_correction;
    row.each([=](int64_t j) {
      const T gradient = scale * g[j];
      const T first = b.beta1 * m[j] + b.one_minus_beta1 * gradient;
      const T second = b.beta2 * v[j] + b.one_minus_beta2 * gradient * gradient;
      m[j] = first;
      v[j] = second;
      p[j] = kept * p[j] - rate * first / (math::sqrt(second * v_correction) + b.epsilon);
      if (copy) copy[j] = static_cast<bfloat16>(static_cast<float>(p[j]));
    });
  });
}

HOST_AND_KERNEL bool is_finite(double x) { return x - x == 0; }

template <class T>
void write_clip_factor(double* out, const double* norm, double limit, const T* losses, int64_t n) {
  for_each(1, [=] KERNEL(int64_t) {
    bool finite = is_finite(norm[0]);
    for (int64_t i = 0; i < n; ++i) finite = finite && is_finite(static_cast<double>(losses[i]));
    const double factor = limit == 0 ? 1 : limit / (norm[0] + 1e-6);
    out[0] = !finite ? std::numeric_limits<double>::quiet_NaN() : factor < 1 ? factor : 1;
  });
}

/// f of a value of the type that masters and gradients have.
template <class F>
void with_master_type(const Parameters& parameters, F f) {
  parameters.master_dtype() == DType::float64 ? f(double{}) : f(float{});
}

template <class T>
UpdateLine<T> update_line(const Parameter& parameter, AdamW::Moments& moments, const AdamWOptions& o,
                          double lr) {
  const Tensor gradient = parameter.var.gradient();
  if (!gradient) return {};
  if (!moments.m) {
    MemoryScope scope(MemoryUse::optimizer);
    moments.m = Tensor::zeros(gradient.shape(), gradient.dtype());
    moments.v = Tensor::zeros(gradient.shape(), gradient.dtype());
  }
  const auto t = static_cast<double>(++moments.updates);
  const double rate = lr * parameter.lr_factor;
  return {.p = parameter.master.data<T>(),
          .copy = parameter.has_copy() ? parameter.var.value().data<bfloat16>() : nullptr,
          .m = moments.m.data<T>(),
          .v = moments.v.data<T>(),
          .g = gradient.data<T>(),
          .n = gradient.elements(),
          .kept = static_cast<T>(parameter.decays ? 1 - rate * o.weight_decay : 1),
          .rate = static_cast<T>(rate / (1 - std::pow(o.beta1, t))),
          .v_correction = static_cast<T>(1 / (1 - std::pow(o.beta2, t)))};
}

/// A table of lines, one for each parameter, to be written by the host.
template <class Line>
Tensor table_of(size_t parameters) {
  MemoryScope scope(MemoryUse::optimizer);
  return Tensor({static_cast<int64_t>(parameters * sizeof(Line) / sizeof(int32_t))}, DType::int32);
}

Tensor pieces_of(const Parameters& parameters) {
  MemoryScope scope(MemoryUse::optimizer);
  std::vector<int32_t> places;
  for (size_t k = 0; k < parameters.all().size(); ++k) {
    const int64_t count = (parameters.all()[k].master.elements() + piece - 1) / piece;
    for (int64_t i = 0; i < count; ++i)
      places.insert(places.end(), {static_cast<int32_t>(k), static_cast<int32_t>(i)});
  }
  return Tensor::from(places, {std::ssize(places) / 2, 2});
}

}  // namespace

AdamW::AdamW(const Parameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      moments_(parameters.all().size()),
      pieces_(pieces_of(parameters)),
      norm_table_(table_of<NormLine<double>>(moments_.size())),
      update_table_(table_of<UpdateLine<double>>(moments_.size())) {
  const auto is_rate = [](double beta) { return beta >= 0 && beta < 1; };
  check(is_rate(options.beta1) && is_rate(options.beta2), "adamw: beta1 is ", options.beta1, " and beta2 ",
        options.beta2, ", expected both in [0, 1)");
  check(options.epsilon > 0, "adamw: epsilon is ", options.epsilon, ", expected above 0");
}

Tensor AdamW::gradient_norm() {
  Tensor norm(Shape{}, DType::float64), partial = Tensor::zeros({pieces_.size(0)}, DType::float64);
  with_master_type(parameters_, [&](auto t) {
    using T = decltype(t);
    auto* line = norm_table_.open<NormLine<T>>();
    for (const Parameter& parameter : parameters_.all()) {
      const Tensor gradient = parameter.var.gradient();
      *line++ = {gradient ? gradient.data<T>() : nullptr, gradient ? gradient.elements() : 0};
    }
    norm_table_.send();
    euclidean_norm(norm.data<double>(), partial.data<double>(),
                   static_cast<const NormLine<T>*>(norm_table_.target().raw()), pieces_);
  });
  return norm;
}

void AdamW::step(double lr, const Tensor& gradient_scale) {
  const AdamWOptions& o = options_;
  with_master_type(parameters_, [&](auto t) {
    using T = decltype(t);
    auto* line = update_table_.open<UpdateLine<T>>();
    for (size_t k = 0; k < moments_.size(); ++k)
      *line++ = update_line<T>(parameters_.all()[k], moments_[k], o, lr);
    update_table_.send();
    adamw<T>(static_cast<const UpdateLine<T>*>(update_table_.target().raw()), pieces_,
             gradient_scale ? gradient_scale.data<double>() : nullptr,
             {.beta1 = static_cast<T>(o.beta1),
              .one_minus_beta1 = static_cast<T>(1 - o.beta1),
              .beta2 = static_cast<T>(o.beta2),
              .one_minus_beta2 = static_cast<T>(1 - o.beta2),
              .epsilon = static_cast<T>(o.epsilon)});
  });
}

Tensor clip_factor(const Tensor& norm, double limit, const Tensor& losses) {
  Tensor factor(Shape{}, DType::float64);
  const Tensor& values = losses ? losses : norm;  // which is looked at anyway
  dispatch_float("clip_factor", values.dtype(), [&](auto t) {
    using T = decltype(t);
    write_clip_factor<T>(factor.data<double>(), norm.data<double>(), limit, values.data<T>(),
                         values.elements());
  });
  return factor;
}

}  // namespace ld
