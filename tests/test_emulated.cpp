// Does the emulated CUDA device do what a GPU does? (What it does beyond that: test_emulated_checks.cpp.)
#ifdef ENGINE_EMULATED

#include "tests/emulated_helpers.h"

namespace ld {
namespace {

using namespace emulated_test;

// ---- Indices and arguments ----------------------------------------------------------------------

__global__ void write_indices(int* out) {
  const dim3 g = gridDim, b = blockDim;
  const int block = int(blockIdx.x + g.x * (blockIdx.y + g.y * blockIdx.z));
  const int thread = int(threadIdx.x + b.x * (threadIdx.y + b.y * threadIdx.z));
  out[block * int(b.x * b.y * b.z) + thread] += 1 + block * 10000 + thread;
}

TEST_CASE("emulated: every block and thread of a 3D grid runs once") {
  const dim3 grid(3, 2, 5), block(4, 3, 7);
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    const ScheduleScope scope(order, 5);
    Device<int> out(std::vector<int>(30 * 84, 0));
    launch(write_indices, grid, block, 0, out.data);
    const auto values = out.host();
    for (int i = 0; i < 30 * 84; ++i) REQUIRE(values[size_t(i)] == 1 + i / 84 * 10000 + i % 84);
  }
}

template <class Body>
__global__ void test_for_each_kernel(int64_t n, Body body) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) body(i);
}

template <class A, class B>
__global__ void write_sizes(A a, B b, int64_t* out) {
  out[0] = a;
  out[1] = int64_t(b);
}

TEST_CASE("emulated: a template kernel takes a lambda body, and arguments convert as in a call") {
  Device<float> x(ramp(1000)), y(1000);
  float *in = x.data, *out = y.data;
  const auto body = [=](int64_t i) { out[i] = 2 * in[i]; };
  launch(test_for_each_kernel<decltype(body)>, 4, 256, 0, 1000, body);
  CHECK(y.host()[999] == 2000);

  Device<int64_t> sizes(2);
  launch(write_sizes<int, int64_t>, 1, 1, 0, int64_t(7), 8, sizes.data);
  CHECK(sizes.host() == std::vector<int64_t>{7, 8});
  const auto text =
      message_of([&] { launch(write_sizes<int, int64_t>, 1, 1, 0, int64_t(1) << 32, 8, sizes.data); });
  CHECK(contains(text, "write_sizes<int, int64_t> at "));
  CHECK(contains(text, "is given 4294967296, which does not fit its parameter of 32 bits"));
  CHECK(contains(message_of([&] { launch(write_sizes<unsigned, int>, 1, 1, 0, -1, 8, sizes.data); }),
                 "given -1"));
}

// ---- Shared memory and barriers -----------------------------------------------------------------

template <int threads>
__global__ void block_sums(float* out, const float* x) {
  STATIC_SHARED(float, partial, [threads]);
  const int t = int(threadIdx.x);
  partial[t] = x[int(blockIdx.x) * threads + t];
  for (int half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) partial[t] += partial[t + half];
  }
  if (t == 0) out[blockIdx.x] = partial[0];
}

TEST_CASE("emulated: a block reduces through shared memory, in every schedule") {
  Device<float> x(ramp(1024 * 9)), sums(9);
  for (const Order order : {Order::forward, Order::reverse, Order::random}) {
    const ScheduleScope scope(order, 1);
    launch(block_sums<1024>, 9, 1024, 0, sums.data, x.data);
    for (int b = 0; b < 9; ++b)
      CHECK(sums.host()[size_t(b)] == doctest::Approx(1024.0 * (1024.0 * b + 512.5)).epsilon(1e-6));
  }
}

__global__ void reverse_block(int* out) {
  DYNAMIC_SHARED(int, buffer);
  STATIC_SHARED(int, scale);
  if (threadIdx.x == 0) scale = 10;
  buffer[threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = scale * buffer[blockDim.x - 1 - threadIdx.x];
}

TEST_CASE("emulated: dynamic shared memory, and a scalar static one") {
  Device<int> out(100);
  launch(reverse_block, 1, 100, 100 * sizeof(int), out.data);
  CHECK(out.host()[0] == 990);
  CHECK(out.host()[99] == 0);
}

__global__ void count_threads(int* out) {
  const int t = int(threadIdx.x);
  const int odd = __syncthreads_count(t % 2), any = __syncthreads_or(t == 70),
            all = __syncthreads_and(t < 99);
  out[t] = odd * 100 + any * 10 + all;
}

TEST_CASE("emulated: barriers that count") {
  Device<int> out(100);
  launch(count_threads, 1, 100, 0, out.data);
  CHECK(out.host() == std::vector<int>(100, 5010));
}

// ---- Warps --------------------------------------------------------------------------------------

template <class T>
__global__ void warp_sums(T* out, const T* x, int width) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  T sum = x[i];
  for (int offset = width / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(all_lanes, sum, offset, width);
  out[i] = sum;
}

template <class T>
void check_warp_sums(int width) {
  std::vector<T> values(128);
  std::iota(values.begin(), values.end(), T(1));
  Device<T> x(values), sums(128);
  launch(warp_sums<T>, 2, 64, 0, sums.data, x.data, width);
  for (size_t i = 0; i < 128; ++i) {
    T expected = 0;
    for (size_t j = i / size_t(width) * size_t(width); j < (i / size_t(width) + 1) * size_t(width); ++j)
      expected += values[j];
    CHECK(sums.host()[i] == expected);
  }
}

TEST_CASE("emulated: warp sums by shuffles, of 4 and 8 bytes and in narrower groups") {
  for (const Order order : {Order::forward, Order::random}) {
    const ScheduleScope scope(order, 3);
    for (const int width : {32, 8, 2, 1}) {
      check_warp_sums<float>(width);
      check_warp_sums<double>(width);
      check_warp_sums<int>(width);
      check_warp_sums<int64_t>(width);
    }
  }
}

__global__ void shuffles(int* out) {
  const int t = int(threadIdx.x);
  out[0 * 32 + t] = __shfl_sync(all_lanes, t, 5);
  out[1 * 32 + t] = __shfl_sync(all_lanes, t, 9, 8);  // 9 mod 8 within each group
  out[2 * 32 + t] = __shfl_up_sync(all_lanes, t, 3);
  out[3 * 32 + t] = __shfl_up_sync(all_lanes, t, 3, 16);
  out[4 * 32 + t] = __shfl_down_sync(all_lanes, t, 3);
  out[5 * 32 + t] = __shfl_down_sync(all_lanes, t, 3, 16);
  out[6 * 32 + t] = __shfl_xor_sync(all_lanes, t, 12, 8);  // reaches earlier groups, not later ones
}

TEST_CASE("emulated: where each shuffle reads") {
  Device<int> out(7 * 32);
  launch(shuffles, 1, 32, 0, out.data);
  const auto values = out.host();
  for (int t = 0; t < 32; ++t) {
    const auto row = [&](int r) { return values[size_t(r * 32 + t)]; };
    CHECK(row(0) == 5);
    CHECK(row(1) == t / 8 * 8 + 1);
    CHECK(row(2) == (t < 3 ? t : t - 3));
    CHECK(row(3) == (t % 16 < 3 ? t : t - 3));
    CHECK(row(4) == (t > 28 ? t : t + 3));
    CHECK(row(5) == (t % 16 > 12 ? t : t + 3));
    CHECK(row(6) == ((t ^ 12) < t / 8 * 8 + 8 ? t ^ 12 : t));
  }
}

__global__ void votes(unsigned* out) {
  const int t = int(threadIdx.x), lane = t % warpSize;
  const unsigned low = 0x0000FFFFu, mine = lane < 16 ? low : ~low;
  const unsigned ballot = __ballot_sync(mine, lane % 4 == 0);  // the halves vote apart, from one place
  unsigned result = ballot;
  if (lane < 16) {
    result |= unsigned(__any_sync(low, lane == 3)) << 16;
    result |= unsigned(__all_sync(low, lane != 3)) << 17;
    __syncwarp(low);
  }
  out[t] = result;
}

TEST_CASE("emulated: votes, and masks that split a warp") {
  Device<unsigned> out(64);
  launch(votes, 1, 64, 0, out.data);
  for (size_t t = 0; t < 64; ++t) CHECK(out.host()[t] == (t % 32 < 16 ? 0x11111u : 0x11110000u));
}

__global__ void partial_warp(int* out) {
  const int t = int(threadIdx.x);
  if (t == 34) return;  // an exited lane may be named in a mask
  const unsigned present = __ballot_sync(all_lanes, 1);
  const int from_35 = __shfl_sync(all_lanes, t, 3), from_nowhere = __shfl_sync(all_lanes, t, 20);
  if (t >= 32) out[t - 32] = int(present) * 10000 + from_35 * 100 + from_nowhere;
}

TEST_CASE("emulated: the last warp of a block may be partial; what an absent lane gives is poison") {
  Device<int> out(std::vector<int>(8, 7));
  launch(partial_warp, 1, 40, 0, out.data);
  const int lanes = 0xFF - 4;
  CHECK(out.host()[0] == lanes * 10000 + 3500 - 1);
  CHECK(out.host()[2] == 7);
  CHECK(out.host()[7] == lanes * 10000 + 3500 - 1);
}

// ---- Atomics and intrinsics ---------------------------------------------------------------------

__global__ void count_atomically(float* f, double* d, int* i, unsigned long long* u) {
  const int t = int(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(f, 1.0f);
  atomicAdd(d, 0.5);
  atomicAdd(&i[0], 1);
  atomicMax(&i[1], t);
  atomicMin(&i[2], -t);
  if (atomicCAS(&i[3], 0, 1) == 0) i[4] = atomicExch(&i[5], 42);  // one thread gets here
  atomicAdd(u, 1ull << 33);
}

TEST_CASE("emulated: atomics, across blocks") {
  Device<float> f(std::vector<float>{0});
  Device<double> d(std::vector<double>{0});
  Device<int> i(std::vector<int>{0, 0, 0, 0, 0, 17});
  Device<unsigned long long> u(std::vector<unsigned long long>{0});
  launch(count_atomically, 40, 256, 0, f.data, d.data, i.data, u.data);
  CHECK(f.host()[0] == 10240);
  CHECK(d.host()[0] == 5120);
  CHECK(i.host() == std::vector<int>{10240, 10239, -10239, 1, 17, 42});
  CHECK(u.host()[0] == 10240ull << 33);
}

TEST_CASE("emulated: intrinsics") {
  CHECK(__popc(0xF0F0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__clz(1) == 31);
  CHECK(__umulhi(0x80000000u, 6u) == 3);
  CHECK(__uint_as_float(__float_as_uint(1.5f)) == 1.5f);
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(__expf(0.0f) == 1.0f);
  CHECK(max(3, 4) == 4);
  CHECK(make_float4(1, 2, 3, 4).w == 4);
  CHECK(alignof(float4) == 16);
}

}  // namespace
}  // namespace ld

#endif
