#include "autograd/gradcheck.h"

#include <cmath>
#include <optional>

#include "autograd/replay.h"
#include "autograd/tape.h"
#include "engine/normal.h"

namespace ld {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Random numbers of the checker's own. Inputs are drawn with random_tensor and often with the same seed:
/// were they the cotangent as well, dyᵀ · x would be symmetric, and a transposed gradient would pass.
Tensor own_random(const Shape& shape, uint64_t seed, uint32_t site) {
  Tensor t(shape, DType::float64);
  fill_normal(t, 0, 1, {seed, 0, 0, site});
  return t;
}
constexpr uint32_t cotangent_site = 1, first_direction_site = 2;

/// The checked function as a number: s(x) = v · f(x).
class Probe {
 public:
  Probe(const Function& f, std::vector<Tensor> inputs, const GradcheckOptions& options)
      : f_(f), inputs_(std::move(inputs)), options_(options) {
    for (const Tensor& x : inputs_) values_.push_back(x.to_vector());
  }

  /// The base run: gradients of s by the tape, values held constant recorded.
  std::vector<std::vector<double>> analytic() {
    if (options_.replay) replay_.emplace();
    std::vector<Var> vars;
    for (const Tensor& x : inputs_) vars.push_back(Var::leaf(x));
    Tape tape;
    Var y = f_(vars);
    check(y.dtype() == DType::float64, "gradcheck: the function returned ", y.dtype(), ", expected float64");
    Tensor v = own_random(y.shape(), options_.seed, cotangent_site);
    cotangent_ = v.to_vector();
    if (y.requires_gradient()) tape.backward(y, v);
    std::vector<std::vector<double>> result;
    for (size_t k = 0; k < vars.size(); ++k) {
      Tensor g = vars[k].gradient();
      result.push_back(g ? g.to_vector() : std::vector<double>(values_[k].size(), 0.0));
    }
    return result;
  }

  /// (s(x + h·u) − s(x − h·u)) / 2h, u in the space of input k.
  double along(size_t k, const std::vector<double>& u, double h) {
    return change(moved(k, u, h), moved(k, u, -h)) / (2 * h);
  }
  double partial(size_t k, size_t i, double step) {
    double x = values_[k][i], h = step * std::max(1.0, std::abs(x));
    // The step that is really taken, after rounding.
    volatile double up = x + h, down = x - h;
    return change(with(k, i, up), with(k, i, down)) / (up - down);
  }

  size_t inputs() const { return inputs_.size(); }
  size_t elements(size_t k) const { return values_[k].size(); }

 private:
  std::vector<double> with(size_t k, size_t i, double value) {
    std::vector<double> x = values_[k];
    x[i] = value;
    return evaluate(k, x);
  }
  std::vector<double> moved(size_t k, const std::vector<double>& u, double h) {
    std::vector<double> x = values_[k];
    for (size_t i = 0; i < x.size(); ++i) x[i] += h * u[i];
    return evaluate(k, x);
  }
  // v · (f(x₊) − f(x₋)): what did not move cancels exactly, where v · f(x₊) − v · f(x₋) would keep its
  // rounding.
  double change(const std::vector<double>& plus, const std::vector<double>& minus) const {
    double sum = 0;
    for (size_t i = 0; i < plus.size(); ++i) sum += cotangent_[i] * (plus[i] - minus[i]);
    return sum;
  }
  std::vector<double> evaluate(size_t k, const std::vector<double>& x) {
    NoGradient pause;
    if (replay_) replay_->rewind();
    std::vector<Var> vars(inputs_.begin(), inputs_.end());
    vars[k] = Var(Tensor::from(x, inputs_[k].shape(), DType::float64));
    return f_(vars).value().to_vector();
  }

  const Function& f_;
  std::vector<Tensor> inputs_;
  std::vector<std::vector<double>> values_;
  std::vector<double> cotangent_;
  GradcheckOptions options_;
  std::optional<Replay> replay_;
};

}  // namespace

GradcheckResult gradcheck(const Function& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options) {
  check(!inputs.empty(), "gradcheck: no inputs given");
  for (const Tensor& x : inputs)
    check(x.dtype() == DType::float64, "gradcheck: an input is ", x.dtype(), ", expected float64");
  Probe probe(f, inputs, options);
  const auto gradients = probe.analytic();
  GradcheckResult result;
  result.passed = true;

  auto fail_with = [&](const std::string& where, const std::string& message) {
    if (!result.passed) return;  // the first failure is the one to tell
    result.passed = false;
    result.message = "gradcheck: " + where + ": " + message;
  };
  // difference_by(h) is the central difference with step h.
  auto compare = [&](const std::string& where, double tape,
                     const std::function<double(double)>& difference_by, double smallest) {
    ++result.probes;
    auto error_of = [&](double difference) {
      return std::abs(tape - difference) / std::max({std::abs(tape), std::abs(difference), smallest, 1e-300});
    };
    double difference = difference_by(options.step), error = error_of(difference);
    if (options.extrapolate && !(error <= options.tolerance)) {
      difference = (4 * difference_by(options.step / 2) - difference) / 3;
      error = error_of(difference);
    }
    if (!(error <= result.worst) && !std::isnan(result.worst)) {  // a NaN is the worst, and stays
      result.worst = error;
      result.where = where;
    }
    if (!(error <= options.tolerance)) {
      std::ostringstream text;
      text.precision(12);
      text << "backward says " << tape << ", a finite difference " << difference << " (relative error "
           << error << ", allowed " << options.tolerance << ")";
      fail_with(where, text.str());
    }
  };

  for (size_t k = 0; k < probe.inputs(); ++k) {
    const std::vector<double>& g = gradients[k];
    const std::string input = "input " + std::to_string(k);
    double largest = 0;
    for (double x : g) largest = std::max(largest, std::abs(x));
    const double norm = std::sqrt(dot(g, g));
    if (!(norm >= options.smallest_norm)) {
      std::ostringstream text;
      text << "the gradient has norm " << norm
           << ", which is vanished (or NaN); choose inputs where it is not";
      fail_with(input, text.str());
      result.where = input;
    }
    if (static_cast<int64_t>(g.size()) <= options.every_element_up_to) {
      for (size_t i = 0; i < g.size(); ++i)
        compare(
            input + ", element " + std::to_string(i), g[i], [&](double h) { return probe.partial(k, i, h); },
            0.01 * largest);
      continue;
    }
    for (int d = 0; d < options.directions; ++d) {
      auto u = own_random(inputs[k].shape(), options.seed, first_direction_site + static_cast<uint32_t>(d))
                   .to_vector();
      const double length = std::sqrt(dot(u, u));
      for (double& x : u) x /= length;  // so that h is as small a step as along one element
      compare(
          input + ", direction " + std::to_string(d), dot(g, u),
          [&](double h) { return probe.along(k, u, h); }, 0.01 * norm);
    }
  }
  return result;
}

Tensor random_tensor(const Shape& shape, uint64_t seed, double mean, double deviation) {
  Tensor t(shape, DType::float64);
  fill_normal(t, mean, deviation, {seed, 0, 0, 0});
  return t;
}

}  // namespace ld
