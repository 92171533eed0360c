// The CUDA language on a CPU: with this header g++ compiles a CUDA kernel unchanged, and every CUDA thread
// runs as a fiber. So each kernel runs in every test run, without a GPU, under checks that no GPU makes:
//   - a barrier or warp collective that some thread never reaches is an error that says who waits where;
//   - device and shared memory is filled with 0xFF before use: NaN in every float format, -1 in integers;
//   - threads can run in another order (set_schedule), so that a missing barrier changes the result;
//   - with -fsanitize=address an access outside of a cudaMalloc block or of shared memory is caught.
// What it cannot see: speed, races inside one statement, and a host loop that reads a device pointer (here
// there is one memory; on a GPU that crashes). A loop in which one thread spins until another one writes
// never ends: a fiber gives way only at barriers and warp collectives.
//
// How it runs: a thread runs until its next barrier without interruption, warp after warp. A thread that
// meets no barrier costs little more than a function call, because the next one starts on the same stack
// (emulated_cuda.cc). All fibers of a block live on one OS thread, so `thread_local` is the shared memory of
// a block; with OpenMP the blocks of a grid are spread over the OS threads.
//
// Tensor cores are in engine/mma.h: inline PTX under nvcc, here warp collectives.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <source_location>
#include <string_view>
#include <tuple>

// ---- Qualifiers ---------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// ---- Vector types -------------------------------------------------------------------------------

struct alignas(8) int2 {
  int x, y;
};
struct int3 {
  int x, y, z;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct float3 {
  float x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

inline int2 make_int2(int x, int y) { return {x, y}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

// ---- Built-in variables: set by the scheduler whenever it switches to another CUDA thread -------

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
inline constexpr int warpSize = 32;

namespace ld::emulated {

// ---- For tests ----------------------------------------------------------------------------------

/// In which order blocks, warps, and the lanes of a warp run between two barriers. Correct kernels give the
/// same result in every order. The start value comes from the environment: ENGINE_EMULATED_SCHEDULE=forward
/// (also without it), reverse, random, or random:SEED.
enum class Order { forward, reverse, random };
struct Schedule {
  Order order = Order::forward;
  uint64_t seed = 0;  // of the random order, which is the same in every run
};
void set_schedule(Order order, uint64_t seed = 0);
Schedule schedule();

/// Sets a schedule for the length of a C++ scope.
struct ScheduleScope {
  explicit ScheduleScope(Order order, uint64_t seed = 0) { set_schedule(order, seed); }
  ~ScheduleScope() { set_schedule(before.order, before.seed); }
  ScheduleScope(const ScheduleScope&) = delete;
  ScheduleScope& operator=(const ScheduleScope&) = delete;
  Schedule before = schedule();
};

// ---- Limits of the emulated device (those of an H100; kernels that must run on an A100 ask the device) ----

inline constexpr unsigned max_block_threads = 1024;
inline constexpr unsigned max_block_z = 64;
inline constexpr unsigned max_grid_yz = 65535;
inline constexpr unsigned max_grid_x = 2147483647;
inline constexpr size_t max_shared_bytes = 48 * 1024;         // without asking
inline constexpr size_t max_shared_bytes_optin = 227 * 1024;  // after cudaFuncSetAttribute

/// What cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) records.
void set_dynamic_shared_limit(const void* kernel, size_t bytes);

// ---- Running a kernel ---------------------------------------------------------------------------

struct Launch {
  std::string_view name;             // of the kernel, as written at the launch
  std::string_view parameter_types;  // tell which body a kernel shape was given
  const char* file;
  int line;
  dim3 grid, block;
  size_t shared_bytes;
  const void* kernel;
  const void* arguments;
  void (*call)(const void* kernel, const void* arguments);  // runs one CUDA thread
};
void run(const Launch& launch);

/// What is put on the stream: done at once, or added to the graph that the stream is captured into
/// (engine/emulated_graph.cc). Kernels come this way, and so must host code that stands in for a library's.
void enqueue(std::function<void()> work);

/// The types as the compiler writes them: "long int, ld::scale(float*, long int)::<lambda(int64_t)>".
template <class... Types>
constexpr std::string_view type_names() {
  std::string_view text = __PRETTY_FUNCTION__;
  const size_t begin = text.find("Types = {");
  if (begin == text.npos) return {};
  text.remove_prefix(begin + 9);
  return text.substr(0, text.rfind("};"));
}

template <class... Parameters>
void run_kernel(std::string_view name, const char* file, int line, void (*kernel)(Parameters...), dim3 grid,
                dim3 block, size_t shared_bytes, Parameters... parameters) {
  using Arguments = std::tuple<Parameters...>;
  const auto copies = std::make_shared<const Arguments>(parameters...);
  const auto call = [](const void* kernel, const void* arguments) {
    std::apply(reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(kernel)),
               *static_cast<const Arguments*>(arguments));
  };
  const Launch launch{name,         type_names<Parameters...>(),           file,         line, grid, block,
                      shared_bytes, reinterpret_cast<const void*>(kernel), copies.get(), call};
  enqueue([launch, copies] { run(launch); });
}

// ---- Shared memory: poisoned when a block first meets it, exactly as large as declared ----------

struct SharedSlot {
  void* address;
  uint64_t block;  // the last block that used it
};
extern constinit thread_local uint64_t current_block;  // a number no other block of this OS thread has had
void open_static_shared(SharedSlot& slot, size_t bytes, size_t alignment);
void* dynamic_shared();

template <class T>
T& static_shared(SharedSlot& slot) {
  if (slot.block != current_block) open_static_shared(slot, sizeof(T), alignof(T));
  return *static_cast<T*>(slot.address);
}

// ---- Barriers and warp collectives --------------------------------------------------------------

using Where = std::source_location;

/// Waits until every thread of the block is here; returns the number of threads with a non-zero predicate.
/// A thread that has exited cannot arrive any more, and that is an error: since Volta the hardware waits for
/// the threads still running only, but the CUDA guide allows __syncthreads only where all threads of the
/// block reach it, and compute-sanitizer's synccheck objects as well. The same holds for waiting at two
/// different places.
int block_barrier(int predicate, const char* name, const Where& where);

/// Waits until all lanes of `mask` that exist and have not exited are at the same collective (as CUDA defines
/// it); then `combine` runs once, while all of them stand still: it may read and write operands[lane] of each
/// `present` lane.
using Combine = void(void* const* operands, uint32_t present);
void warp_collective(uint32_t mask, void* operands, Combine* combine, const char* name, const Where& where);

inline unsigned linear_thread() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
inline int lane() { return int(linear_thread() % warpSize); }
int checked_width(int width, const char* name, const Where& where);

template <class T>
T shuffle(uint32_t mask, T value, int source, const char* name, const Where& where) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "shuffle: 4 or 8 bytes");
  struct Exchange {
    T value;
    int source;
    T result;
  } mine{value, source, {}};
  std::memset(&mine.result, 0xFF,
              sizeof(T));  // what a lane gets from one that is not there: undefined in CUDA
  warp_collective(
      mask, &mine,
      [](void* const* operands, uint32_t present) {
        for (uint32_t rest = present; rest; rest &= rest - 1) {
          auto& taker = *static_cast<Exchange*>(operands[std::countr_zero(rest)]);
          if (present >> taker.source & 1)
            taker.result = static_cast<Exchange*>(operands[taker.source])->value;
        }
      },
      name, where);
  return mine.result;
}

uint32_t ballot(uint32_t mask, bool predicate, const char* name, const Where& where);

}  // namespace ld::emulated

// ---- The same, under CUDA's names ---------------------------------------------------------------

#define ENGINE_HERE const ld::emulated::Where& where = ld::emulated::Where::current()

inline void __syncthreads(ENGINE_HERE) { ld::emulated::block_barrier(0, "__syncthreads", where); }
inline int __syncthreads_count(int p, ENGINE_HERE) {
  return ld::emulated::block_barrier(p, "__syncthreads_count", where);
}
inline int __syncthreads_or(int p, ENGINE_HERE) {
  return ld::emulated::block_barrier(p, "__syncthreads_or", where) != 0;
}
inline int __syncthreads_and(int p, ENGINE_HERE) {
  return ld::emulated::block_barrier(!p, "__syncthreads_and", where) == 0;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, ENGINE_HERE) {
  ld::emulated::warp_collective(
      mask, nullptr, [](void* const*, uint32_t) {}, "__syncwarp", where);
}
inline unsigned __ballot_sync(unsigned mask, int p, ENGINE_HERE) {
  return ld::emulated::ballot(mask, p != 0, "__ballot_sync", where);
}
inline int __any_sync(unsigned mask, int p, ENGINE_HERE) {
  return ld::emulated::ballot(mask, p != 0, "__any_sync", where) != 0;
}
inline int __all_sync(unsigned mask, int p, ENGINE_HERE) {
  return ld::emulated::ballot(mask, p == 0, "__all_sync", where) == 0;
}

// The shuffles move values within groups of `width` lanes; each computes the lane to read from.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, ENGINE_HERE) {
  width = ld::emulated::checked_width(width, "__shfl_sync", where);
  const int group = ld::emulated::lane() & ~(width - 1);
  return ld::emulated::shuffle(mask, value, group + (source & (width - 1)), "__shfl_sync", where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, ENGINE_HERE) {
  width = ld::emulated::checked_width(width, "__shfl_up_sync", where);
  const int lane = ld::emulated::lane(), in_group = lane & (width - 1);
  return ld::emulated::shuffle(mask, value, unsigned(in_group) < delta ? lane : lane - int(delta),
                               "__shfl_up_sync", where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, ENGINE_HERE) {
  width = ld::emulated::checked_width(width, "__shfl_down_sync", where);
  const int lane = ld::emulated::lane(), in_group = lane & (width - 1);
  const bool inside = uint64_t(in_group) + delta < uint64_t(width);
  return ld::emulated::shuffle(mask, value, inside ? lane + int(delta) : lane, "__shfl_down_sync", where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, ENGINE_HERE) {
  width = ld::emulated::checked_width(width, "__shfl_xor_sync", where);
  const int lane = ld::emulated::lane(), group = lane & ~(width - 1);
  const int source = (lane ^ bits) & (warpSize - 1);  // a later group cannot be read, an earlier one can
  return ld::emulated::shuffle(mask, value, source < group + width ? source : lane, "__shfl_xor_sync", where);
}

#undef ENGINE_HERE
