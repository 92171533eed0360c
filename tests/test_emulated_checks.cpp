// Does the emulated CUDA device notice what a GPU does not: stuck barriers, unwritten memory, broken limits?
#ifdef ENGINE_EMULATED

#include <cmath>
#include <stdexcept>

#include "tests/emulated_helpers.h"

namespace ld {
namespace {

using namespace emulated_test;

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

__global__ void write_thread(int* out) {
  __syncthreads();
  out[threadIdx.x] = int(threadIdx.x);
}

__global__ void width_of_three(int* out) { out[threadIdx.x] = __shfl_sync(all_lanes, 1, 0, 3); }

TEST_CASE("emulated: a barrier that not all threads reach is an error which says who waits where") {
  const ScheduleScope scope(Order::forward);  // the first block is the first to fail
  Device<int> out(64);
  auto text = message_of([&] { launch(half_the_threads_wait, 2, 64, 0, out.data); });
  CHECK(contains(text, "kernel half_the_threads_wait (int*) launched at "));
  CHECK(contains(text, "test_emulated_checks.cpp:"));
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

  launch(write_thread, 1, 64, 0, out.data);  // and the device works on
  CHECK(out.host()[63] == 63);
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
