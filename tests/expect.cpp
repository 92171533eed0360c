#include "tests/expect.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/random.h"

namespace ld {

Run run(const Function& f, const std::vector<Tensor>& inputs, const std::vector<bool>& constant, int times) {
  std::vector<Var> vars;
  for (size_t i = 0; i < inputs.size(); ++i)
    vars.push_back(i < constant.size() && constant[i] ? Var(inputs[i]) : Var::leaf(inputs[i]));
  Tape tape;
  Var y = f(vars);
  Run result{y.value(), {}};
  for (int i = 0; i < times && y.requires_gradient(); ++i)
    tape.backward(y, cotangent_for(y.shape(), y.dtype()), i + 1 < times ? KeepTape::yes : KeepTape::no);
  for (const Var& v : vars) result.gradients.push_back(v.gradient());
  return result;
}

Tensor cast(const Tensor& t, DType dtype) { return Tensor::from(t.to_vector(), t.shape(), dtype); }

Tensor cotangent_for(const Shape& shape, DType dtype) {
  return cast(cast(random_tensor(shape, 77), DType::float32), dtype);
}

Tensor uniform_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  NoiseKey key{seed, 0, 0, 0};
  std::vector<double> values(static_cast<size_t>(shape.elements()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = low + (high - low) * static_cast<double>(key.uniform(0, static_cast<int64_t>(i)));
  return Tensor::from(values, shape, DType::float64);
}

Tensor some_targets(int64_t n, int64_t V, int64_t ignore) {
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < n; ++i)
    targets.push_back(ignore && i % ignore == ignore - 1 ? -1 : static_cast<int32_t>(i * 5 % V));
  return Tensor::from(targets, {n});
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return NAN;
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) return NAN;
    if (a[i] != b[i]) difference = std::max(difference, std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  return difference == 0 ? 0 : difference / largest;
}

double relative_difference(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() ? relative_difference(a.to_vector(), b.to_vector()) : NAN;
}

void check_values(Var (*op)(const Var&), double (*expected)(double), double low, double high) {
  const Tensor x = uniform_tensor({1025}, 9, low, high);
  std::vector<double> y = x.to_vector();
  for (double& v : y) v = expected(v);
  CHECK(relative_difference(op(x).value().to_vector(), y) < 2e-15);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (!a || !b) return !a && !b;
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  std::vector<char> x(static_cast<size_t>(a.bytes())), y(x.size());
  copy_to_host(x.data(), a.raw(), x.size());
  copy_to_host(y.data(), b.raw(), y.size());
  return x == y;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void expect_error(const std::function<void()>& f, std::initializer_list<std::string> parts) {
  const std::string message = error_of(f);
  for (const std::string& part : parts) {
    INFO("the message is: ", message);
    INFO("it should name: ", part);
    CHECK(message.find(part) != message.npos);
  }
}

void expect_refusal(const std::function<void()>& op, std::initializer_list<std::string> parts) {
  reset_memory_peaks();
  expect_error(op, parts);
  const MemoryCount memory = memory_report().total;
  CHECK(memory.peak == memory.now);
}

}  // namespace ld
