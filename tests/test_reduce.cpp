#include <doctest/doctest.h>

#include <cmath>

#include "ops/reduce.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

void add_sizes(CaseList& cases, Var (*op)(const Var&)) {
  // 4097 is one more than a chunk of the reduction.
  for (int64_t n : {1, 31, 33, 1025, 4097})
    cases
        .add(std::to_string(n), [op](const std::vector<Var>& in) { return op(in[0]); },
             {random_tensor({n}, 1, 0.5)})
        .linear = true;
  cases.add("rank 3", [op](const std::vector<Var>& in) { return op(in[0]); }, {random_tensor({2, 3, 5}, 2)})
      .linear = true;
}

OP_CASES(sum) { add_sizes(cases, sum); }
OP_CASES(mean) { add_sizes(cases, mean); }

TEST_CASE("reduce: sum and mean") {
  for (int64_t n : {1, 31, 33, 1025, 4096, 4097, 70001}) {
    INFO("n = ", n);
    const Tensor x = random_tensor({n}, 1, 0.5);
    double total = 0;
    for (double v : x.to_vector()) total += v;
    CHECK(sum(x).value().item() == doctest::Approx(total).epsilon(1e-13));
    CHECK(mean(x).value().item() == doctest::Approx(total / static_cast<double>(n)).epsilon(1e-13));
    CHECK(sum(x).shape() == Shape{});
  }
}

TEST_CASE("reduce: one NaN is enough") {
  std::vector<double> x(1025, 1.0);
  x[1000] = NAN;
  CHECK(std::isnan(mean(Tensor::from(x, {1025}, DType::float32)).value().item()));
}

TEST_CASE("reduce: nothing has no mean") {
  const Tensor nothing({3, 0}, DType::float64);
  expect_error([&] { mean(nothing); }, {"mean: x has shape (3, 0)", "no elements"});
  expect_error([&] { sum(nothing); }, {"sum: x has shape (3, 0)"});
}

}  // namespace
}  // namespace ld
