#ifdef ENGINE_EMULATED

#include "engine/emulated_runtime.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

struct CUstream_st {};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
  bool recorded = false;
};

namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t returned(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}
cudaError_t success_if(bool ok) { return returned(ok ? cudaSuccess : cudaErrorInvalidValue); }

// ---- Allocations --------------------------------------------------------------------------------

constexpr std::align_val_t alignment{256};  // as cudaMalloc's

struct Allocations {
  std::mutex mutex;
  std::map<const char*, size_t> sizes;
  size_t total = 0, limit = SIZE_MAX;

  cudaError_t allocate(void** memory, size_t bytes) {
    *memory = nullptr;
    if (const cudaError_t error = ld::emulated::outside_capture(); error != cudaSuccess)
      return returned(error);
    if (bytes == 0) return cudaSuccess;
    void* p = nullptr;
    // AddressSanitizer ends the program on a size beyond its own limit, even for a nothrow allocation.
    if (bytes <= size_t(1) << 37 && bytes <= limit - std::min(limit, total))
      p = ::operator new(bytes, alignment, std::nothrow);
    if (!p) return returned(cudaErrorMemoryAllocation);
    std::memset(p, 0xFF, bytes);
    const std::lock_guard lock(mutex);
    sizes[static_cast<const char*>(p)] = bytes;
    total += bytes;
    *memory = p;
    return cudaSuccess;
  }

  cudaError_t free(void* memory) {
    if (const cudaError_t error = ld::emulated::outside_capture(); error != cudaSuccess)
      return returned(error);
    if (!memory) return cudaSuccess;
    {
      const std::lock_guard lock(mutex);
      const auto found = sizes.find(static_cast<const char*>(memory));
      if (found == sizes.end()) return returned(cudaErrorInvalidValue);  // never allocated, or freed twice
      total -= found->second;
      sizes.erase(found);
    }
    ::operator delete(memory, alignment);
    return cudaSuccess;
  }

  /// Do the bytes lie within one allocation?
  bool hold(const void* memory, size_t bytes) {
    const char* p = static_cast<const char*>(memory);
    const std::lock_guard lock(mutex);
    auto after = sizes.upper_bound(p);
    if (after == sizes.begin()) return false;
    const auto& [begin, size] = *--after;
    const size_t offset = size_t(p - begin);
    return offset <= size && bytes <= size - offset;
  }
};

// Never destroyed: memory may be freed by the destructors of other static objects.
Allocations& device_memory() {
  static auto& allocations = *new Allocations;
  return allocations;
}
Allocations& host_memory() {
  static auto& allocations = *new Allocations;
  return allocations;
}

size_t physical_memory(int what) { return size_t(sysconf(what)) * size_t(sysconf(_SC_PAGESIZE)); }

}  // namespace

// ---- Errors -------------------------------------------------------------------------------------

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidMemcpyDirection:
      return "cudaErrorInvalidMemcpyDirection";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalState:
      return "cudaErrorIllegalState";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidMemcpyDirection:
      return "invalid copy direction for memcpy";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorIllegalState:
      return "the operation cannot be performed in the present state";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

// ---- Devices ------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  using namespace ld::emulated;
  if (device != 0) return returned(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated CUDA device");
  properties->totalGlobalMem = physical_memory(_SC_PHYS_PAGES);
  properties->sharedMemPerBlock = max_shared_bytes;
  properties->sharedMemPerBlockOptin = max_shared_bytes_optin;
  properties->sharedMemPerMultiprocessor = 228 * 1024;
  properties->major = 9;
  properties->multiProcessorCount =
      4;  // few, so that kernels that fill the device with blocks loop, as on a GPU
  properties->warpSize = ::warpSize;
  properties->regsPerBlock = 65536;
  properties->l2CacheSize = 16 << 10;  // so small that the logits of a test come in several chunks
  properties->maxThreadsPerBlock = int(max_block_threads);
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = int(max_block_threads);
  properties->maxThreadsDim[2] = int(max_block_z);
  properties->maxGridSize[0] = int(max_grid_x);
  properties->maxGridSize[1] = properties->maxGridSize[2] = int(max_grid_yz);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = int(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = int(properties.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return returned(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = physical_memory(_SC_PHYS_PAGES);
  *free = physical_memory(_SC_AVPHYS_PAGES);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return success_if(value >= -1 && value <= 100);
  if (value < 0 || size_t(value) > ld::emulated::max_shared_bytes_optin)
    return returned(cudaErrorInvalidValue);
  ld::emulated::set_dynamic_shared_limit(kernel, size_t(value));
  return cudaSuccess;
}

// ---- Streams and events -------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags > cudaStreamNonBlocking) return returned(cudaErrorInvalidValue);
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return returned(ld::emulated::outside_capture()); }

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (!event) return returned(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  event->recorded = true;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return returned(ld::emulated::outside_capture()); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->recorded || !end->recorded) return returned(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// ---- Memory -------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** memory, size_t bytes) { return device_memory().allocate(memory, bytes); }
cudaError_t cudaFree(void* memory) { return device_memory().free(memory); }
cudaError_t cudaMallocHost(void** memory, size_t bytes) { return host_memory().allocate(memory, bytes); }
cudaError_t cudaFreeHost(void* memory) { return host_memory().free(memory); }

namespace {

cudaError_t check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device && !device_memory().hold(to, bytes)) return cudaErrorInvalidValue;
  if (from_device && !device_memory().hold(from, bytes)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = ld::emulated::outside_capture(); error != cudaSuccess) return returned(error);
  return cudaMemcpyAsync(to, from, bytes, kind);
}
// A graph copies again at every launch, when ordinary host memory may long be something else: a GPU would
// copy that, here it is an error. Pinned memory is meant to stay.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess)
    return returned(error);
  const bool pageable = (kind == cudaMemcpyHostToDevice && !host_memory().hold(from, bytes)) ||
                        (kind == cudaMemcpyDeviceToHost && !host_memory().hold(to, bytes));
  if (pageable && ld::emulated::is_capturing()) return returned(ld::emulated::outside_capture());
  ld::emulated::enqueue([=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int byte, size_t bytes) {
  if (const cudaError_t error = ld::emulated::outside_capture(); error != cudaSuccess) return returned(error);
  return cudaMemsetAsync(memory, byte, bytes);
}
cudaError_t cudaMemsetAsync(void* memory, int byte, size_t bytes, cudaStream_t) {
  if (bytes == 0) return cudaSuccess;
  if (!device_memory().hold(memory, bytes)) return returned(cudaErrorInvalidValue);
  ld::emulated::enqueue([=] { std::memset(memory, byte, bytes); });
  return cudaSuccess;
}

namespace ld::emulated {
MemoryLimit::MemoryLimit(size_t bytes) { device_memory().limit = bytes; }
MemoryLimit::~MemoryLimit() { device_memory().limit = SIZE_MAX; }
}  // namespace ld::emulated

#endif
