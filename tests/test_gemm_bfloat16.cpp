#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

#include "engine/gemm.h"
#include "tests/expect.h"

namespace ld {
namespace {

struct Sizes {
  int64_t batch, m, n, k, padding;
};

// Numbers of rows × cols matrices that lie `padding` elements apart from row to row; the padding is NaN, so
// that reading it shows.
struct Padded {
  Tensor tensor;
  int64_t ld, stride;
  Padded(int64_t batch, int64_t rows, int64_t cols, int64_t padding, DType dtype, uint64_t seed)
      : ld(cols + padding), stride(rows * ld) {
    std::vector<double> values = random_tensor({batch * stride}, seed).to_vector();
    for (size_t i = 0; i < values.size(); ++i)
      if (static_cast<int64_t>(i) % ld >= cols) values[i] = NAN;
    tensor = Tensor::from(values, {batch, rows, ld}, dtype);
  }
};

template <class Out>
void compare(const Sizes& s, Transpose ta, Transpose tb, bool store) {
  INFO(s.batch, " of (", s.m, ", ", s.n, ", ", s.k, "), padding ", s.padding, ", transposed ",
       ta == Transpose::yes, tb == Transpose::yes, ", ", store ? "stored" : "added", ", to ",
       name_of(dtype_of<Out>()));
  const bool flip_a = ta == Transpose::yes, flip_b = tb == Transpose::yes;
  const Padded a(s.batch, flip_a ? s.k : s.m, flip_a ? s.m : s.k, s.padding, DType::bfloat16, 1);
  const Padded b(s.batch, flip_b ? s.n : s.k, flip_b ? s.k : s.n, s.padding, DType::bfloat16, 2);
  const Padded c(s.batch, s.m, s.n, s.padding, dtype_of<Out>(), 3);
  const auto av = a.tensor.to_vector(), bv = b.tensor.to_vector();
  std::vector<double> expected = c.tensor.to_vector();
  for (int64_t batch = 0; batch < s.batch; ++batch)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < s.k; ++k)
          sum += av[static_cast<size_t>(batch * a.stride + (flip_a ? k * a.ld + i : i * a.ld + k))] *
                 bv[static_cast<size_t>(batch * b.stride + (flip_b ? j * b.ld + k : k * b.ld + j))];
        double& out = expected[static_cast<size_t>(batch * c.stride + i * c.ld + j)];
        out = store ? sum : out + sum;
      }
  gemm<bfloat16, Out>(s.m, s.n, s.k, {a.tensor.data<bfloat16>(), a.ld, ta, a.stride},
                      {b.tensor.data<bfloat16>(), b.ld, tb, b.stride}, {c.tensor.data<Out>(), store}, c.ld,
                      s.batch, c.stride);
  std::vector<double> got = c.tensor.to_vector();
  for (size_t i = 0; i < got.size(); ++i)
    if (static_cast<int64_t>(i) % c.ld >= s.n) {
      CHECK(std::isnan(got[i]));  // the padding was not written
      got[i] = expected[i] = 0;
    }
  // The products are exact in float32 and so, nearly, is their sum; to bfloat16 it is rounded once.
  CHECK_FALSE(!(relative_difference(got, expected) <= (std::is_same_v<Out, float> ? 1e-5 : 0x1p-8)));
}

void compare_all(const Sizes& s) {
  for (Transpose ta : {Transpose::no, Transpose::yes})
    for (Transpose tb : {Transpose::no, Transpose::yes})
      for (bool store : {true, false}) {
        compare<bfloat16>(s, ta, tb, store);
        compare<float>(s, ta, tb, store);
      }
}

TEST_CASE("gemm: bfloat16 products, summed in float32") {
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 0},
                         {1, 31, 33, 5, 0},
                         {1, 33, 31, 1025, 3},
                         {1, 1, 64, 33, 0},
                         {1, 1, 301, 129, 3},
                         {1, 64, 1, 7, 1},
                         {3, 7, 5, 31, 0},
                         {2, 33, 16, 17, 2}})
    compare_all(s);
}

// Rows enough for three threads and for eight, though not for eight whole blocks.
TEST_CASE("gemm: bfloat16 products that are cut by rows, for any number of threads") {
  const int before = omp_get_max_threads();
  for (int threads : {1, 2, 3, 8}) {
    INFO(threads, " threads");
    omp_set_num_threads(threads);
    compare_all({1, 257, 129, 65, 3});
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace ld
