// A CUDA GPU, real or emulated, as a device. Compiled for DEVICE=cuda and DEVICE=emulated.
#include "engine/device.h"
#include "engine/device_details.h"
#include "engine/error.h"
#include "engine/launch.h"

namespace ld {

#ifdef ENGINE_EMULATED
const char* device_name() { return "emulated"; }
#else
const char* device_name() { return "cuda"; }
#endif

void require_device() {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  check(status == cudaSuccess && count > 0, "this program was built for CUDA and finds no usable GPU (",
        status == cudaSuccess ? "no device" : cudaGetErrorString(status),
        "). Build for the processor instead: make DEVICE=cpu");
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  check(properties.major >= 8,
        "this program needs a GPU of compute capability 8.0 or more, for bfloat16, and ", properties.name,
        " has ", properties.major, ".", properties.minor,
        ". Build for the processor instead: make DEVICE=cpu");
}

std::string device_description() {
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 30) + " GiB";
}

std::string device_details() {
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  std::ostringstream out;
  out << "memory        " << (total >> 30) << " GiB, " << (free >> 30) << " of them free\n"
      << "capability    " << properties.major << "." << properties.minor << ", "
      << properties.multiProcessorCount << " multiprocessors\n"
      << "dtype         bfloat16: its matrices are multiplied by tensor cores\n";
  return out.str();
}

int64_t second_level_cache() {
  int bytes = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, 0));
  return bytes;
}

void* device_allocate(size_t bytes) {
  void* memory = nullptr;
  cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the pool tries again, then says what to do
    return nullptr;
  }
  CUDA_CHECK(status);
  return memory;
}
void device_free(void* memory) { CUDA_CHECK(cudaFree(memory)); }

// From pageable host memory cudaMemcpyAsync returns once the source has been read, so the caller may reuse
// it.
void copy_to_device(void* device, const void* host, size_t bytes) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  CUDA_CHECK(cudaStreamIsCapturing(engine_stream(), &capture));
  check(capture == cudaStreamCaptureStatusNone, "capture: ", bytes,
        " bytes are copied from host memory, which ",
        "every launch of the graph would read again; send them before, by Staging");
  CUDA_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, engine_stream()));
}
void copy_to_host(void* host, const void* device, size_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, engine_stream()));
  synchronize();
}
// A graph has no node that does nothing: copies and fills of 0 bytes are left out.
void copy_on_device(void* to, const void* from, size_t bytes) {
  if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, engine_stream()));
}
void fill_bytes(void* device, int byte, size_t bytes) {
  if (bytes > 0) CUDA_CHECK(cudaMemsetAsync(device, byte, bytes, engine_stream()));
}
void synchronize() { CUDA_CHECK(cudaStreamSynchronize(engine_stream())); }

}  // namespace ld
