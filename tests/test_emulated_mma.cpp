// The tensor-core wrappers of engine/mma.h, on the emulated device: held against products written out, and
// against the PTX manual's words on which lane holds what.
#ifdef ENGINE_EMULATED

#include <array>
#include <random>

#include "engine/mma.h"
#include "tests/emulated_helpers.h"

namespace ld {
namespace {

using namespace emulated_test;

std::vector<float> random_bfloat16(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = bfloat16(normal(random));
  return values;
}

uint16_t bits(float x) { return bfloat16(x).bits; }

// As the manual puts it: element i of a fragment, groupID = lane >> 2, threadID_in_group = lane % 4.
struct Place {
  int row, col;
};
Place place_in_a(int lane, int i) {
  const int group = lane >> 2, thread = lane % 4;
  return {(i < 2 || (i >= 4 && i < 6)) ? group : group + 8, thread * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
Place place_in_b(int lane, int i) { return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2}; }
Place place_in_c(int lane, int i) { return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)}; }

// d = a·b + c of fragments that lie in memory lane by lane.
__global__ void mma_of_lanes(FragmentC* d, const FragmentA* a, const FragmentB* b, const FragmentC* c) {
  const unsigned lane = threadIdx.x % 32, at = blockIdx.x * 32 + lane;
  mma_m16n8k16(d[at], a[at], b[at], c[at]);
}

TEST_CASE("mma: equals the product written out, each lane's elements where the manual says") {
  const size_t products = 20;
  std::vector<FragmentA> a(32 * products);
  std::vector<FragmentB> b(32 * products);
  std::vector<FragmentC> c(32 * products);
  std::vector<float> expected(32 * products * 4);
  for (size_t n = 0; n < products; ++n) {
    const auto seed = static_cast<unsigned>(n);
    const auto A = random_bfloat16(16 * 16, 3 * seed), B = random_bfloat16(16 * 8, 3 * seed + 1),
               C = random_bfloat16(16 * 8, 3 * seed + 2);
    auto pair_at = [](const std::vector<float>& m, int width, Place first, Place second) {
      return static_cast<uint32_t>(bits(m[static_cast<size_t>(second.row * width + second.col)])) << 16 |
             bits(m[static_cast<size_t>(first.row * width + first.col)]);
    };
    for (int lane = 0; lane < 32; ++lane) {
      const size_t at = n * 32 + static_cast<size_t>(lane);
      for (int r = 0; r < 4; ++r)
        a[at].x[r] = pair_at(A, 16, place_in_a(lane, 2 * r), place_in_a(lane, 2 * r + 1));
      for (int r = 0; r < 2; ++r)
        b[at].x[r] = pair_at(B, 8, place_in_b(lane, 2 * r), place_in_b(lane, 2 * r + 1));
      for (int i = 0; i < 4; ++i) {
        const Place p = place_in_c(lane, i);
        c[at].x[i] = C[static_cast<size_t>(p.row * 8 + p.col)];
        double sum = static_cast<double>(c[at].x[i]);
        for (int k = 0; k < 16; ++k)
          sum += static_cast<double>(A[static_cast<size_t>(p.row * 16 + k)]) *
                 static_cast<double>(B[static_cast<size_t>(k * 8 + p.col)]);
        expected[at * 4 + static_cast<size_t>(i)] = static_cast<float>(sum);
      }
    }
  }
  const Device<FragmentA> da(a);
  const Device<FragmentB> db(b);
  const Device<FragmentC> dc(c), dd(c.size());
  for (Order order : {Order::forward, Order::reverse, Order::random}) {
    const ScheduleScope scope(order, 1);
    launch(mma_of_lanes, unsigned(products), 32, 0, dd.data, da.data, db.data, dc.data);
    const auto d = dd.host();
    for (size_t at = 0; at < d.size(); ++at)
      for (size_t i = 0; i < 4; ++i) REQUIRE(d[at].x[i] == expected[at * 4 + i]);
  }
}

// out = A·B, A·B read as its transpose, and the same again with A from two C; A (16, 16), B (16, 16).
__global__ void products_from_shared(float* out, const float* a, const float* b) {
  constexpr int stride = 24;
  DYNAMIC_SHARED(bfloat16, shared);
  bfloat16 *a_rows = shared, *b_rows = shared + 16 * stride, *b_columns = shared + 32 * stride;
  for (unsigned i = threadIdx.x; i < 256; i += 32) {
    a_rows[i / 16 * stride + i % 16] = bfloat16(a[i]);
    b_rows[i / 16 * stride + i % 16] = bfloat16(b[i]);
    b_columns[i % 16 * stride + i / 16] = bfloat16(b[i]);
  }
  __syncwarp();
  const FragmentA left = load_left_factor(a_rows, stride);
  const FragmentB2 right = load_right_factor(b_rows, stride),
                   same = load_transposed_right_factor(b_columns, stride);
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  auto store = [&](int matrix, unsigned half, const FragmentC& c) {
    for (unsigned i = 0; i < 4; ++i)
      out[unsigned(matrix) * 256 + (g + i / 2 * 8) * 16 + half * 8 + 2 * t + i % 2] = c.x[i];
  };
  FragmentC product[2];
  for (unsigned half = 0; half < 2; ++half) {
    mma_m16n8k16(product[half], left, right.half[half], {});
    store(0, half, product[half]);
    FragmentC other;
    mma_m16n8k16(other, left, same.half[half], {});
    store(1, half, other);
  }
  const FragmentA again = as_left_factor(product[0], product[1]);
  for (unsigned half = 0; half < 2; ++half) {
    FragmentC other;
    mma_m16n8k16(other, again, right.half[half], {});
    store(2, half, other);
  }
}

TEST_CASE("mma: factors from shared memory, plain and transposed, and a result as the next left factor") {
  const auto a = random_bfloat16(256, 7), b = random_bfloat16(256, 8);
  const Device<float> da(a), db(b), dout(3 * 256);
  launch(products_from_shared, 1, 32, 3 * 16 * 24 * sizeof(bfloat16), dout.data,
         static_cast<const float*>(da.data), static_cast<const float*>(db.data));
  const auto out = dout.host();
  auto product = [&](const std::vector<float>& left) {
    std::vector<float> result(256);
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 16; ++j) {
        double sum = 0;
        for (size_t k = 0; k < 16; ++k)
          sum += static_cast<double>(left[i * 16 + k]) * static_cast<double>(b[k * 16 + j]);
        result[i * 16 + j] = static_cast<float>(sum);
      }
    return result;
  };
  const auto once = product(a);
  auto rounded = once;
  for (float& v : rounded) v = bfloat16(v);
  const auto twice = product(rounded);
  for (size_t i = 0; i < 256; ++i) {
    REQUIRE(out[i] == once[i]);
    REQUIRE(out[256 + i] == once[i]);
    REQUIRE(out[512 + i] == twice[i]);
  }
}

__global__ void misaligned_load(float* out) {
  DYNAMIC_SHARED(bfloat16, shared);
  out[threadIdx.x] = low_half(load_left_factor(shared, 20).x[0]);
}

TEST_CASE("mma: rows that are not at multiples of 16 bytes are refused, as on a GPU") {
  const Device<float> out(32);
  CHECK(
      contains(message_of([&] { launch(misaligned_load, 1, 32, 1024, out.data); }), "multiple of 16 bytes"));
}

}  // namespace
}  // namespace ld

#endif
