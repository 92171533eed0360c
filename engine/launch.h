// What every file with a CUDA kernel includes, in both CUDA builds:
//   nvcc (DEVICE=cuda)        the real thing;
//   g++  (DEVICE=emulated)    engine/emulated_cuda.h, where each CUDA thread is a fiber on the CPU.
// A g++ file of the real build (ENGINE_CUDA defined, no kernels in it) gets the API part only.
//
//   launch(for_each_kernel<Body>, grid, block, shared_bytes, n, body);
//   CUDA_CHECK(cudaMemsetAsync(p, 0, bytes, engine_stream()));
//   STATIC_SHARED(float, tile, [32][33]);   // a block's own float tile[32][33]
//   DYNAMIC_SHARED(float, scratch);         // float* to the shared_bytes of the launch
//
// The first two throw ld::Error when they fail, naming the kernel or the call, and the place.
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

#include "engine/error.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#elif defined(ENGINE_EMULATED)
#include "engine/emulated_cuda.h"
#include "engine/emulated_intrinsics.h"
#include "engine/emulated_runtime.h"
#elif defined(ENGINE_CUDA)
#include <cuda_runtime_api.h>
#else
#error "engine/launch.h belongs to the CUDA builds: compile with nvcc, or with -DENGINE_EMULATED"
#endif

namespace ld {

/// Throws the error of `statement`. The error is also taken out of the runtime, where the next launch check
/// would find it again and blame an innocent kernel.
[[noreturn]] inline void cuda_failed(const char* statement, const char* file, int line, cudaError_t error) {
  (void)cudaGetLastError();
  fail("cuda: ", statement, " at ", file, ":", line, " failed: ", cudaGetErrorString(error), " (",
       cudaGetErrorName(error), ")");
}

#define CUDA_CHECK(...)                                                                      \
  do {                                                                                       \
    if (const cudaError_t cuda_check_error = (__VA_ARGS__); cuda_check_error != cudaSuccess) \
      ::ld::cuda_failed(#__VA_ARGS__, __FILE__, __LINE__, cuda_check_error);                 \
  } while (false)

/// The stream of all the engine's work: one, so that program order is device order. It is a created stream
/// because the default one cannot be captured into a CUDA graph, and non-blocking because it then neither
/// waits for nor stops anything a library puts on the default stream. The price: plain cudaMemcpy does not
/// wait for it, so copies are cudaMemcpyAsync on this stream, then cudaStreamSynchronize.
inline cudaStream_t engine_stream() {
  static const cudaStream_t stream = [] {
    cudaStream_t created = nullptr;
    CUDA_CHECK(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
  }();
  return stream;
}

#if defined(__CUDACC__) || defined(ENGINE_EMULATED)

/// Where a launch stands in the source, for error messages.
struct LaunchSite {
  const char* arguments;  // the text between the parentheses of launch(...): the kernel comes first
  const char* file;
  int line;

  /// The kernel as written, template arguments included: the text up to the first comma outside <> and ().
  std::string_view kernel() const {
    int depth = 0;
    const std::string_view text = arguments;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '<' || text[i] == '(') ++depth;
      if (text[i] == '>' || text[i] == ')') --depth;
      if (text[i] == ',' && depth == 0) return text.substr(0, i);
    }
    return text;
  }
};

/// A kernel argument as the kernel's parameter type: the conversion of an ordinary call, except that an
/// integer which does not fit is an error (an element count beyond 2^31 handed to an int, say).
template <class Parameter, class Argument>
Parameter kernel_argument(const LaunchSite& site, Argument&& argument) {
  using Given = std::remove_cvref_t<Argument>;
  if constexpr (std::is_integral_v<Parameter> && std::is_integral_v<Given>) {
    const Parameter converted = static_cast<Parameter>(argument);
    bool fits = static_cast<Given>(converted) == argument;
    if constexpr (std::is_signed_v<Given> && !std::is_signed_v<Parameter>) fits = fits && argument >= 0;
    if constexpr (!std::is_signed_v<Given> && std::is_signed_v<Parameter>) fits = fits && converted >= 0;
    check(fits, "launch: kernel ", site.kernel(), " at ", site.file, ":", site.line, " is given ", +argument,
          ", which does not fit its parameter of ", 8 * sizeof(Parameter), " bits; widen the parameter");
    return converted;
  } else {
    return std::forward<Argument>(argument);
  }
}

template <class... Parameters, class... Arguments>
void launch_kernel(const LaunchSite& site, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "launch: wrong number of kernel arguments");
  static_assert((!std::is_reference_v<Parameters> && ...), "launch: a kernel takes its arguments by value");
#if defined(__CUDACC__)
  kernel<<<grid, block, shared_bytes, engine_stream()>>>(
      kernel_argument<Parameters>(site, std::forward<Arguments>(arguments))...);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    fail("launch: kernel ", site.kernel(), " at ", site.file, ":", site.line, " with grid (", grid.x, ",",
         grid.y, ",", grid.z, "), block (", block.x, ",", block.y, ",", block.z, "), ", shared_bytes,
         " bytes of shared memory failed: ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
#else
  emulated::run_kernel(site.kernel(), site.file, site.line, kernel, grid, block, shared_bytes,
                       kernel_argument<Parameters>(site, std::forward<Arguments>(arguments))...);
#endif
}

/// A macro only for the message: it hands on the text of the launch and its place.
#define launch(...) launch_kernel(::ld::LaunchSite{#__VA_ARGS__, __FILE__, __LINE__}, __VA_ARGS__)

// Shared memory goes through two macros because the emulated device must know each variable's address to fill
// it with NaN before a block runs. (A plain `__shared__ float x[32];` works there too, but keeps what the
// block before left in it.)
#if defined(__CUDACC__)
#define STATIC_SHARED(Type, name, ...) __shared__ Type name __VA_ARGS__
#define DYNAMIC_SHARED(Type, name)                                              \
  extern __shared__ __align__(16) unsigned char engine_dynamic_shared_memory[]; \
  Type* const name = reinterpret_cast<Type*>(engine_dynamic_shared_memory)
#else
#define STATIC_SHARED(Type, name, ...)                                    \
  static thread_local constinit ::ld::emulated::SharedSlot name##_slot{}; \
  auto& name = ::ld::emulated::static_shared<Type __VA_ARGS__>(name##_slot)
#define DYNAMIC_SHARED(Type, name) Type* const name = static_cast<Type*>(::ld::emulated::dynamic_shared())
#endif

#endif  // kernels

}  // namespace ld
