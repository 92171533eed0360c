// Pinned host memory; see engine/staging.h.
#include "engine/launch.h"
#include "engine/staging.h"

namespace ld {

Staging::Staging(const Tensor& target) : target_(target) {
  for (Buffer& buffer : buffers_) {
    CUDA_CHECK(cudaMallocHost(&buffer.memory, static_cast<size_t>(target.bytes())));
    CUDA_CHECK(cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming));
  }
}

Staging::Buffer::~Buffer() {
  if (copied) {
    cudaEventSynchronize(copied);
    cudaEventDestroy(copied);
  }
  if (memory) cudaFreeHost(memory);
}

void* Staging::open() {
  const Buffer& buffer = buffers_[static_cast<size_t>(turn_)];
  CUDA_CHECK(cudaEventSynchronize(buffer.copied));  // long past, unless the device is two copies behind
  return buffer.memory;
}

void Staging::send() {
  const Buffer& buffer = buffers_[static_cast<size_t>(turn_)];
  CUDA_CHECK(cudaMemcpyAsync(target_.raw(), buffer.memory, static_cast<size_t>(target_.bytes()),
                             cudaMemcpyHostToDevice, engine_stream()));
  CUDA_CHECK(cudaEventRecord(buffer.copied, engine_stream()));
  turn_ = 1 - turn_;
}

}  // namespace ld
