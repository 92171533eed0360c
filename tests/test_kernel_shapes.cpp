// The loops every op is made of. On CUDA their bodies would need nvcc, which does not compile the tests:
// there the ops' own tests stand for them, and the emulated device runs these.
#include "engine/device.h"
#ifndef ENGINE_CUDA

#include <doctest/doctest.h>

#include <cmath>

#include "engine/kernel_shapes.h"
#include "tests/expect.h"

namespace ld {
namespace {

constexpr int64_t sizes[] = {0, 1, 31, 33, 1025, 70000};

Tensor whole_numbers(int64_t n) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<double>(i * 7 % 23 - 11));
  return Tensor::from(values, {n}, DType::float32);
}

TEST_CASE("kernel shapes: for_each visits every element once") {
  for (int64_t n : sizes) {
    const Tensor count = Tensor::zeros({n + 1}, DType::float32);
    float* c = count.data<float>();
    for_each(n, [=] KERNEL(int64_t i) { c[i] += static_cast<float>(i % 5 + 1); });
    const auto seen = count.to_vector();
    for (int64_t i = 0; i < n; ++i) REQUIRE(seen[static_cast<size_t>(i)] == static_cast<double>(i % 5 + 1));
    CHECK(seen.back() == 0);
  }
}

TEST_CASE("kernel shapes: a row's sum, maximum, each and once") {
  for (auto [rows, cols] :
       {std::pair<int64_t, int64_t>{0, 5}, {5, 1}, {3, 31}, {33, 33}, {2, 1025}, {1, 70000}, {300, 2}}) {
    INFO(rows, " rows of ", cols);
    const Tensor x = whole_numbers(rows * cols), y = Tensor::zeros({rows * cols}, DType::float32);
    const Tensor sums({rows}, DType::float32), maxima({rows}, DType::float32),
        visits = Tensor::zeros({rows}, DType::float32);
    const float* xs = x.data<float>();
    float *ys = y.data<float>(), *s = sums.data<float>(), *m = maxima.data<float>(),
          *v = visits.data<float>();
    for_each_row(rows, cols, [=] KERNEL(int64_t r, auto row) {
      const float sum = row.sum([=](int64_t j) { return xs[r * cols + j]; });
      const float largest = row.max([=](int64_t j) { return xs[r * cols + j]; });
      row.each([=](int64_t j) { ys[r * cols + j] += sum + largest + xs[r * cols + j]; });
      row.once([=] {
        s[r] = sum;
        m[r] = largest;
        v[r] += 1;
      });
    });
    const auto xv = x.to_vector(), yv = y.to_vector(), sv = sums.to_vector(), mv = maxima.to_vector();
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0, largest = -INFINITY;  // whole numbers: float32 sums them exactly
      for (int64_t j = 0; j < cols; ++j) {
        sum += xv[static_cast<size_t>(r * cols + j)];
        largest = std::max(largest, xv[static_cast<size_t>(r * cols + j)]);
      }
      CHECK(sv[static_cast<size_t>(r)] == sum);
      CHECK(mv[static_cast<size_t>(r)] == largest);
      for (int64_t j = 0; j < cols; ++j)
        REQUIRE(yv[static_cast<size_t>(r * cols + j)] ==
                sum + largest + xv[static_cast<size_t>(r * cols + j)]);
    }
    CHECK(visits.to_vector() == std::vector<double>(static_cast<size_t>(rows), 1.0));
  }
}

TEST_CASE("kernel shapes: the maximum of a row with a NaN anywhere is NaN") {
  for (int64_t cols : {1, 33, 1025})
    for (int64_t place : {int64_t{0}, cols / 2, cols - 1}) {
      std::vector<double> values(static_cast<size_t>(cols), 3.0);
      values[static_cast<size_t>(place)] = NAN;
      const Tensor x = Tensor::from(values, {cols}, DType::float32), y({1}, DType::float32);
      const float* xs = x.data<float>();
      float* ys = y.data<float>();
      for_each_row(1, cols, [=] KERNEL(int64_t, auto row) {
        const float largest = row.max([=](int64_t j) { return xs[j]; });
        row.once([=] { ys[0] = largest; });
      });
      CHECK(std::isnan(y.item()));
    }
}

TEST_CASE("kernel shapes: reduce_columns sums each column, storing or adding") {
  for (auto [rows, cols] : {std::pair<int64_t, int64_t>{0, 5},
                            {1, 1},
                            {31, 33},
                            {33, 31},
                            {255, 3},
                            {256, 3},
                            {257, 3},
                            {1025, 2},
                            {2, 1025},
                            {70000, 1},
                            {1, 70000},
                            {3, 0}})
    for (bool store : {true, false}) {
      INFO(rows, " rows of ", cols, store ? ", stored" : ", added");
      const Tensor x = whole_numbers(rows * cols);
      const Tensor out = store ? Tensor({cols}, DType::float32) : whole_numbers(cols);
      std::vector<double> expected =
          store ? std::vector<double>(static_cast<size_t>(cols), 0.0) : out.to_vector();
      const auto xv = x.to_vector();
      for (size_t i = 0; i < xv.size(); ++i) expected[i % static_cast<size_t>(cols)] += xv[i];
      const float* xs = x.data<float>();
      reduce_columns<float>({out.data<float>(), store}, rows, cols,
                            [=, cols = cols] KERNEL(int64_t r, int64_t c) { return xs[r * cols + c]; });
      CHECK(out.to_vector() == expected);
    }
}

TEST_CASE("kernel shapes: reduce_sum") {
  for (int64_t n : {0, 1, 31, 33, 1025, 4095, 4096, 4097, 70000}) {
    const Tensor x = whole_numbers(n), out({1}, DType::float32);
    double total = 0;
    for (double v : x.to_vector()) total += v;
    const float* xs = x.data<float>();
    reduce_sum<float>(out.data<float>(), n, 0.5f, [=] KERNEL(int64_t i) { return xs[i]; });
    CHECK(out.item() == 0.5 * total);
  }
}

TEST_CASE("kernel shapes: scatter_add_rows, also where indices repeat") {
  for (auto [rows, cols] :
       {std::pair<int64_t, int64_t>{0, 3}, {1, 1}, {31, 33}, {1025, 5}, {7, 1025}, {70000, 1}}) {
    INFO(rows, " rows of ", cols);
    const int64_t V = 11;
    std::vector<int32_t> index;
    for (int64_t r = 0; r < rows; ++r) index.push_back(static_cast<int32_t>(r * r % V));
    const Tensor table = whole_numbers(V * cols), x = whole_numbers(rows * cols),
                 ids = Tensor::from(index, {rows});
    auto expected = table.to_vector();
    const auto xv = x.to_vector();
    for (size_t i = 0; i < xv.size(); ++i)
      expected[static_cast<size_t>(index[i / static_cast<size_t>(cols)]) * static_cast<size_t>(cols) +
               i % static_cast<size_t>(cols)] += xv[i];
    scatter_add_rows(Accumulator<float>{table.data<float>(), false}, ids.data<int32_t>(), x.data<float>(),
                     rows, cols);
    CHECK(table.to_vector() == expected);
  }
}

TEST_CASE("kernel shapes: sums have the same bits every time") {
  const Tensor x = cast(random_tensor({70000}, 1), DType::float32);
  const float* xs = x.data<float>();
  auto sums = [&] {
    const Tensor total({1}, DType::float32), columns({7}, DType::float32);
    reduce_sum<float>(total.data<float>(), 70000, 1.0f, [=] KERNEL(int64_t i) { return xs[i]; });
    reduce_columns<float>({columns.data<float>(), true}, 10000, 7,
                          [=] KERNEL(int64_t r, int64_t c) { return xs[r * 7 + c]; });
    auto all = columns.to_vector();
    all.push_back(total.item());
    return all;
  };
  const auto first = sums();
  for (int i = 0; i < 5; ++i) CHECK(sums() == first);
}

TEST_CASE("kernel shapes: for_each_pair finds the place in both operands") {
  for (auto [na, nb] :
       {std::pair<int64_t, int64_t>{33, 33}, {1, 33}, {33, 1}, {3, 33}, {33, 3}, {1, 1}, {0, 0}, {0, 5}}) {
    const int64_t n = na == 0 || nb == 0 ? 0 : std::max(na, nb);
    const Tensor y = Tensor::zeros({std::max(na, nb)}, DType::float64);
    double* ys = y.data<double>();
    for_each_pair(na, nb, [=] KERNEL(int64_t i, int64_t ia, int64_t ib) {
      ys[i] += static_cast<double>(1 + ia * 100 + ib);
    });
    const auto yv = y.to_vector();
    for (int64_t i = 0; i < n; ++i)
      CHECK(yv[static_cast<size_t>(i)] == static_cast<double>(1 + i % na * 100 + i % nb));
  }
}

}  // namespace
}  // namespace ld

#endif
