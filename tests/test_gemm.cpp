#include <doctest/doctest.h>

#include "engine/gemm.h"
#include "tests/expect.h"

namespace ld {
namespace {

/// A stored matrix of a test, wider than it needs to be: `ld` elements from row to row.
struct Stored {
  int64_t ld;
  std::vector<double> values;  // of every matrix of the batch

  Stored(int64_t rows, int64_t cols, int64_t batch, uint64_t seed)
      : ld(cols + 3), values(cast(random_tensor({batch, rows, ld}, seed), DType::float32).to_vector()) {}
  double at(int64_t index, int64_t stride, int64_t row, int64_t col) const {
    return values[static_cast<size_t>(index * stride + row * ld + col)];
  }
};

template <class T>
void check_gemm(int64_t m, int64_t n, int64_t k, Transpose ta, Transpose tb, bool store, int64_t batch) {
  const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
  const Stored a(at ? k : m, at ? m : k, batch, 1), b(bt ? n : k, bt ? k : n, batch, 2), c(m, n, batch, 3);
  const int64_t stride_a = (at ? k : m) * a.ld, stride_b = (bt ? n : k) * b.ld, stride_c = m * c.ld;
  auto upload = [](const Stored& s) {
    return Tensor::from(s.values, {static_cast<int64_t>(s.values.size())}, dtype_of<T>());
  };
  const Tensor ta_values = upload(a), tb_values = upload(b), tc_values = upload(c);
  gemm<T>(m, n, k, {ta_values.data<T>(), a.ld, ta, stride_a}, {tb_values.data<T>(), b.ld, tb, stride_b},
          {tc_values.data<T>(), store}, c.ld, batch, stride_c);

  std::vector<double> expected = c.values;  // what lies beyond the last column must stay
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t row = 0; row < m; ++row)
      for (int64_t col = 0; col < n; ++col) {
        double& sum = expected[static_cast<size_t>(i * stride_c + row * c.ld + col)];
        if (store) sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += (at ? a.at(i, stride_a, p, row) : a.at(i, stride_a, row, p)) *
                 (bt ? b.at(i, stride_b, col, p) : b.at(i, stride_b, p, col));
      }
  // Sums of up to 257 products: √257 · 2⁻²⁴ = 1e-6 in float32, times ten.
  const double tolerance = std::is_same_v<T, double> ? 1e-13 : 1e-5;
  const double error = relative_difference(tc_values.to_vector(), expected);
  CHECK_FALSE(!(error <= tolerance));
}

template <class T>
void check_all_forms() {
  struct Sizes {
    int64_t m, n, k;
  };
  for (Sizes s : {Sizes{1, 1, 1},
                  {3, 5, 7},
                  {31, 33, 2},
                  {33, 1, 31},
                  {1, 65, 33},
                  {1, 5, 31},
                  {1, 301, 129},
                  {70, 9, 257},
                  {2, 3, 0}})
    for (Transpose ta : {Transpose::no, Transpose::yes})
      for (Transpose tb : {Transpose::no, Transpose::yes})
        for (bool store : {true, false})
          for (int64_t batch : {1, 3}) {
            INFO("m ", s.m, " n ", s.n, " k ", s.k, " transposes ", ta == Transpose::yes,
                 tb == Transpose::yes, " store ", store, " batch ", batch);
            check_gemm<T>(s.m, s.n, s.k, ta, tb, store, batch);
          }
}

TEST_CASE("gemm: float32, against a naive product") { check_all_forms<float>(); }
TEST_CASE("gemm: float64, against a naive product") { check_all_forms<double>(); }

TEST_CASE("gemm: storing does not read what was there") {
  const Tensor a = Tensor::from({1, 2, 3, 4}, {2, 2}, DType::float32);
  const Tensor c({2, 2}, DType::float32);  // NaN
  gemm<float>(2, 2, 2, {a.data<float>(), 2}, {a.data<float>(), 2}, {c.data<float>(), true}, 2);
  CHECK(c.to_vector() == std::vector<double>{7, 10, 15, 22});
}

TEST_CASE("gemm: no rows, no columns, no matrices: nothing is touched") {
  const Tensor one = Tensor::from({1}, {1}, DType::float32), c = Tensor::from({5}, {1}, DType::float32);
  const Matrix<float> matrix{one.data<float>(), 1};
  gemm<float>(0, 1, 1, matrix, matrix, {c.data<float>(), true}, 1);
  gemm<float>(1, 0, 1, matrix, matrix, {c.data<float>(), true}, 1);
  gemm<float>(1, 1, 1, matrix, matrix, {c.data<float>(), true}, 1, 0);
  CHECK(c.item() == 5);
}

}  // namespace
}  // namespace ld
