#include <doctest/doctest.h>

#include "ops/binary.h"
#include "ops/matmul.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

constexpr Transpose no = Transpose::no, yes = Transpose::yes;

Function product(Transpose ta, Transpose tb) {
  return [=](const std::vector<Var>& in) { return matmul(in[0], in[1], ta, tb); };
}

struct Sizes {
  int64_t batch, M, N, K;
};
Tensor left(const Sizes& s, Transpose t, uint64_t seed) {
  return random_tensor(t == yes ? Shape{s.batch, s.K, s.M} : Shape{s.batch, s.M, s.K}, seed);
}
Tensor right(const Sizes& s, Transpose t, uint64_t seed) {
  return random_tensor(t == yes ? Shape{s.batch, s.N, s.K} : Shape{s.batch, s.K, s.N}, seed);
}

OP_CASES(matmul) {
  for (Transpose ta : {no, yes})
    for (Transpose tb : {no, yes})
      for (const Sizes& s :
           {Sizes{1, 1, 1, 1}, {2, 3, 5, 7}, {3, 31, 2, 33}, {1, 33, 31, 5}, {2, 1, 3, 1025}}) {
        std::ostringstream name;
        name << s.batch << " of " << s.M << "x" << s.K << (ta == yes ? " transposed" : "") << " · " << s.K
             << "x" << s.N << (tb == yes ? " transposed" : "");
        cases.add(name.str(), product(ta, tb), {left(s, ta, 1), right(s, tb, 2)});
      }
  cases.add("rank 2", product(no, yes), {random_tensor({3, 5}, 3), random_tensor({7, 5}, 4)});
  cases.add("rank 4", product(yes, no), {random_tensor({2, 3, 5, 4}, 5), random_tensor({2, 3, 5, 7}, 6)});
  for (auto [ta, tb] : {std::pair{no, yes}, {yes, no}, {no, no}, {yes, yes}}) {
    const bool mixed = ta != tb;
    cases.add("x with itself" + std::string(ta == yes ? ", left transposed" : "") +
                  (tb == yes ? ", right transposed" : ""),
              [ta = ta, tb = tb](const std::vector<Var>& in) { return matmul(in[0], in[0], ta, tb); },
              {random_tensor(mixed ? Shape{2, 3, 5} : Shape{2, 4, 4}, 7)});
  }
}

TEST_CASE("matmul: Σ_k a_ik b_kj") {
  for (Transpose ta : {no, yes})
    for (Transpose tb : {no, yes})
      for (const Sizes& s :
           {Sizes{1, 1, 1, 1}, {2, 31, 33, 5}, {3, 5, 1, 31}, {1, 2, 1025, 3}, {2, 3, 2, 1025}}) {
        const Tensor a = left(s, ta, 1), b = right(s, tb, 2);
        const auto av = a.to_vector(), bv = b.to_vector();
        std::vector<double> expected(static_cast<size_t>(s.batch * s.M * s.N), 0.0);
        for (int64_t n = 0; n < s.batch; ++n)
          for (int64_t i = 0; i < s.M; ++i)
            for (int64_t j = 0; j < s.N; ++j)
              for (int64_t k = 0; k < s.K; ++k)
                expected[static_cast<size_t>((n * s.M + i) * s.N + j)] +=
                    av[static_cast<size_t>(n * s.M * s.K + (ta == yes ? k * s.M + i : i * s.K + k))] *
                    bv[static_cast<size_t>(n * s.K * s.N + (tb == yes ? j * s.K + k : k * s.N + j))];
        const Tensor y = matmul(a, b, ta, tb).value();
        CHECK(y.shape() == Shape{s.batch, s.M, s.N});
        CHECK(relative_difference(y.to_vector(), expected) < 1e-13);
        const Tensor single = matmul(cast(a, DType::float32), cast(b, DType::float32), ta, tb).value();
        CHECK(relative_difference(single.to_vector(), expected) < 1e-5);
      }
}

TEST_CASE("matmul: of nothing") {
  for (DType dtype : {DType::float32, DType::float64, DType::bfloat16}) {
    const Tensor a({2, 3, 0}, dtype), b({2, 0, 5}, dtype);
    CHECK(matmul(a, b).value().to_vector() == std::vector<double>(30, 0.0));  // a sum of no terms
    CHECK(matmul(Tensor({0, 3, 4}, dtype), Tensor({0, 4, 5}, dtype)).shape() == Shape{0, 3, 5});
  }
}

TEST_CASE("matmul: misuse names both sides") {
  const Tensor a = random_tensor({2, 3, 4}, 1), b = random_tensor({2, 5, 6}, 2),
               c = random_tensor({3, 4, 5}, 3), v = random_tensor({4}, 4);
  expect_refusal([&] { matmul(a, b); },
                 {"matmul: a has shape (2, 3, 4)", "b (2, 5, 6)", "columns of a, 4", "5"});
  expect_refusal([&] { matmul(a, b, yes, yes); }, {"(2, 3, 4) transposed", "(2, 5, 6) transposed", "3", "6"});
  expect_refusal([&] { matmul(a, c); }, {"(2, 3, 4)", "(3, 4, 5)", "leading dimensions"});
  expect_refusal([&] { matmul(v, v); }, {"matmul: a has shape (4)"});
  const Tensor single = cast(a, DType::float32);
  expect_refusal([&] { matmul(a, single); }, {"matmul", "float64 and float32"});
}

}  // namespace
}  // namespace ld
