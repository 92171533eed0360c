// The emulated CUDA device: does it do what a GPU does, and does it notice what a GPU does not?
#ifdef ENGINE_EMULATED

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "engine/launch.h"

namespace ld {
namespace {

using emulated::Order;
using emulated::ScheduleScope;

// A vector in device memory.
template <class T>
struct Device {
  explicit Device(size_t n) : size(n) { CUDA_CHECK(cudaMalloc(&data, n * sizeof(T))); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    CUDA_CHECK(
        cudaMemcpyAsync(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice, engine_stream()));
  }
  ~Device() { cudaFree(data); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  std::vector<T> host() const {
    std::vector<T> values(size);
    CUDA_CHECK(
        cudaMemcpyAsync(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost, engine_stream()));
    CUDA_CHECK(cudaStreamSynchronize(engine_stream()));
    return values;
  }
  size_t size;
  T* data = nullptr;
};

std::vector<float> ramp(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != text.npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << text);
  return found;
}

constexpr unsigned all_lanes = 0xFFFFFFFFu;

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

// ---- What goes wrong is noticed -----------------------------------------------------------------

__global__ void half_the_threads_wait(int*) {
  if (threadIdx.x < 40) __syncthreads();
}

__global__ void two_places(int*) {
  if (threadIdx.x % 2)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void lane_3_is_late(int* out) {
  if (threadIdx.x % 32 == 3) __syncthreads();
  out[threadIdx.x] = int(__ballot_sync(all_lanes, 1));
}

__global__ void not_in_its_own_mask(int*) { __syncwarp(0x1u); }

__global__ void width_of_three(int* out) { out[threadIdx.x] = __shfl_sync(all_lanes, 1, 0, 3); }

TEST_CASE("emulated: a barrier that not all threads reach is an error which says who waits where") {
  const ScheduleScope scope(Order::forward);  // the first block is the first to fail
  Device<int> out(64);
  auto text = message_of([&] { launch(half_the_threads_wait, 2, 64, 0, out.data); });
  CHECK(contains(text, "kernel half_the_threads_wait (int*) launched at "));
  CHECK(contains(text, "test_emulated.cpp:"));
  CHECK(contains(text, "block (0,0,0)"));
  CHECK(contains(text, "thread 0-39: waits at __syncthreads ("));
  CHECK(contains(text, "thread 40-63: exited"));

  text = message_of([&] { launch(two_places, 1, 5, 0, out.data); });
  CHECK(contains(text, "thread 0,2,4: waits at __syncthreads ("));
  CHECK(contains(text, "thread 1,3: waits at __syncthreads ("));

  text = message_of([&] { launch(lane_3_is_late, 1, 64, 0, out.data); });
  CHECK(contains(text, "thread 3,35: waits at __syncthreads ("));
  CHECK(contains(text, "thread 0-2,4-34,36-63: waits at __ballot_sync with mask 0xffffffff"));

  CHECK(contains(message_of([&] { launch(not_in_its_own_mask, 1, 2, 0, out.data); }), "lane 1 takes part"));
  CHECK(contains(message_of([&] { launch(width_of_three, 1, 32, 0, out.data); }), "width is 3"));

  launch(reverse_block, 1, 64, 64 * sizeof(int), out.data);  // and the device works on
  CHECK(out.host()[0] == 630);
}

// Each thread reads its neighbour's value of the round before: a barrier is missing after the reading.
__global__ void shift_without_barrier(int* out) {
  STATIC_SHARED(int, ring, [64]);
  const int t = int(threadIdx.x);
  ring[t] = t;
  __syncthreads();
  ring[t] = ring[(t + 1) % 64];
  __syncthreads();
  out[t] = ring[t];
}

TEST_CASE("emulated: a missing __syncthreads changes the result with the schedule") {
  const auto result = [](Order order, uint64_t seed) {
    const ScheduleScope scope(order, seed);
    Device<int> out(64);
    launch(shift_without_barrier, 1, 64, 0, out.data);
    return out.host();
  };
  const auto forward = result(Order::forward, 0);
  CHECK(result(Order::reverse, 0) != forward);
  CHECK(result(Order::random, 1) != forward);
  CHECK(result(Order::random, 1) != result(Order::random, 2));
  CHECK(result(Order::random, 1) == result(Order::random, 1));
}

__global__ void read_unwritten_shared(float* out, int* out_int) {
  STATIC_SHARED(float, fixed, [32]);
  DYNAMIC_SHARED(float, dynamic);
  STATIC_SHARED(int, integer);
  if (threadIdx.x == 0) {
    out[0] = fixed[31];
    out[1] = dynamic[31];
    out_int[0] = integer;
    fixed[31] = dynamic[31] = 1;  // for the next block to find, were it not poisoned again
    integer = 1;
  }
}

TEST_CASE("emulated: memory that nobody wrote is NaN, or -1") {
  Device<float> fresh(3);
  for (const float x : fresh.host()) CHECK(std::isnan(x));
  Device<double> doubles(1);
  CHECK(std::isnan(doubles.host()[0]));
  Device<float> out(2);
  Device<int> out_int(1);
  launch(read_unwritten_shared, 3, 32, 32 * sizeof(float), out.data, out_int.data);
  CHECK(std::isnan(out.host()[0]));
  CHECK(std::isnan(out.host()[1]));
  CHECK(out_int.host()[0] == -1);
}

__global__ void nothing() {}

__global__ void too_much_static_shared(float* out) {
  STATIC_SHARED(float, big, [12288]);
  STATIC_SHARED(float, more, [1]);
  big[0] = more[0] = 1;
  out[0] = big[0] + more[0];
}

TEST_CASE("emulated: a launch beyond the device's limits is refused") {
  const auto refused = [](dim3 grid, dim3 block, size_t shared) {
    return message_of([&] { launch(nothing, grid, block, shared); });
  };
  CHECK(contains(refused(1, 1025, 0), "launch: block (1025,1,1) is beyond the limit of 1024 threads"));
  CHECK(contains(refused(1, dim3(32, 33), 0), "launch: block (32,33,1)"));
  CHECK(contains(refused(1, dim3(1, 1, 65), 0), "64 of them in z"));
  CHECK(contains(refused(dim3(1, 65536), 1, 0), "launch: grid (1,65536,1)"));
  CHECK(contains(refused(0, 1, 0), "is empty"));
  CHECK(contains(refused(1, 0, 0), "is empty"));
  CHECK(contains(refused(1, 1, 48 * 1024 + 1), "49153 bytes of shared memory, the limit is 49152"));
  CHECK(contains(refused(1, 1, 48 * 1024 + 1), "kernel nothing () launched at"));

  CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024) ==
        cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  CUDA_CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 * 1024));
  CHECK(refused(1, 1, 100 * 1024) == "no error");
  CHECK(contains(refused(1, 1, 100 * 1024 + 1), "the limit is 102400"));

  Device<float> out(1);
  CHECK(contains(message_of([&] { launch(too_much_static_shared, 1, 1, 0, out.data); }),
                 "STATIC_SHARED: 49156"));
}

struct Counted {  // counts the stacks that were not unwound
  explicit Counted(int* n) : n(n) { atomicAdd(n, 1); }
  ~Counted() { atomicAdd(n, -1); }
  int* n;
};

__global__ void one_thread_throws(int block, unsigned thread, bool after_barrier, int* alive) {
  const Counted counted(alive);
  const bool me = int(blockIdx.x) == block && threadIdx.x == thread;
  if (me && !after_barrier) throw std::out_of_range("thread " + std::to_string(thread));
  __syncthreads();
  if (me) throw std::out_of_range("thread " + std::to_string(thread));
  __syncthreads();
}

TEST_CASE("emulated: an exception of a thread reaches the caller, and every stack is unwound") {
  for (const Order order : {Order::forward, Order::reverse, Order::random})
    for (const bool after_barrier : {false, true}) {
      const ScheduleScope scope(order, 9);
      Device<int> alive(std::vector<int>{0});
      CHECK_THROWS_WITH_AS(launch(one_thread_throws, 20, 256, 0, 7, 133, after_barrier, alive.data),
                           "thread 133", std::out_of_range);
      CHECK(alive.host()[0] == 0);
    }
}

// ---- The host's side ----------------------------------------------------------------------------

TEST_CASE("emulated: CUDA_CHECK names the call that failed") {
  Device<int> x(4);
  const int values[5] = {};
  const auto text =
      message_of([&] { CUDA_CHECK(cudaMemcpy(x.data, values, sizeof(values), cudaMemcpyHostToDevice)); });
  CHECK(contains(text, "cuda: cudaMemcpy(x.data, values, sizeof(values), cudaMemcpyHostToDevice) at "));
  CHECK(contains(text, "failed: invalid argument (cudaErrorInvalidValue)"));
  CHECK(cudaPeekAtLastError() == cudaSuccess);
}

TEST_CASE("emulated: copies and frees of what is not device memory fail") {
  Device<int> x(4);
  int host[4] = {};
  CHECK(cudaMemcpy(host, x.data, 16, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(x.data + 1, 0, 16) == cudaErrorInvalidValue);
  CHECK(cudaMemset(x.data + 1, 0, 12) == cudaSuccess);
  CHECK(cudaFree(x.data + 1) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  void* none = &host;
  CHECK(cudaMalloc(&none, size_t(1) << 60) == cudaErrorMemoryAllocation);
  CHECK(none == nullptr);
  cudaGetLastError();
}

TEST_CASE("emulated: events measure time, devices have properties") {
  cudaEvent_t start, end;
  CUDA_CHECK(cudaEventCreate(&start));
  CUDA_CHECK(cudaEventCreate(&end));
  CUDA_CHECK(cudaEventRecord(start, engine_stream()));
  launch(nothing, 100, 256, 0);
  CUDA_CHECK(cudaEventRecord(end, engine_stream()));
  float milliseconds = -1;
  CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start, end));
  CHECK(milliseconds > 0);
  CUDA_CHECK(cudaEventDestroy(start));
  CUDA_CHECK(cudaEventDestroy(end));
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  CHECK(properties.warpSize == 32);
  CHECK(properties.totalGlobalMem > 0);
}

}  // namespace
}  // namespace ld

#endif
