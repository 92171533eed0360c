// The emulated CUDA device: streams captured into graphs. While this OS thread captures, what is put on the
// stream is noted down instead of done, kernels with copies of their arguments; launching the graph does it
// all again, in order. Calls that a GPU refuses during capture (it would have to wait for work that is not
// being done) fail here too and spoil the capture: so a host read inside a training step shows without a GPU.
#ifdef ENGINE_EMULATED

#include <atomic>
#include <vector>

#include "engine/emulated_runtime.h"

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};

namespace ld::emulated {
namespace {

thread_local std::unique_ptr<CUgraph_st> capture;
thread_local bool spoilt = false;
std::atomic<int64_t> launches = 0;

}  // namespace

void enqueue(std::function<void()> work) {
  if (!capture) return work();
  capture->work.push_back(std::move(work));
}

cudaError_t outside_capture() {
  if (!capture) return cudaSuccess;
  spoilt = true;
  return cudaErrorStreamCaptureUnsupported;
}

bool is_capturing() { return capture != nullptr; }
int64_t graph_launches() { return launches; }

}  // namespace ld::emulated

using namespace ld::emulated;

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream) return cudaErrorStreamCaptureUnsupported;  // the default stream cannot be captured
  if (capture) return cudaErrorIllegalState;
  capture = std::make_unique<CUgraph_st>();
  spoilt = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!capture) return cudaErrorIllegalState;
  if (spoilt) {
    capture.reset();
    return cudaErrorStreamCaptureInvalidated;
  }
  *graph = capture.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  if (const cudaError_t error = outside_capture(); error != cudaSuccess) return error;
  ++launches;
  for (const auto& work : executable->work) work();
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

#endif
