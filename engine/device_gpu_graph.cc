// CUDA graphs; see engine/graph.h.
#include "engine/graph.h"
#include "engine/launch.h"

namespace ld {
namespace {

/// The stream is captured while one lives; without `finish`, what was captured is thrown away.
class Capture {
 public:
  Capture() { CUDA_CHECK(cudaStreamBeginCapture(engine_stream(), cudaStreamCaptureModeThreadLocal)); }
  ~Capture() {
    if (cudaGraph_t graph = nullptr;
        !finished_ && cudaStreamEndCapture(engine_stream(), &graph) == cudaSuccess)
      cudaGraphDestroy(graph);
    cudaGetLastError();  // a spoilt capture is told by whoever has spoilt it
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraphExec_t finish() {
    finished_ = true;
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(engine_stream(), &graph));
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    CUDA_CHECK(error);
    return executable;
  }

 private:
  bool finished_ = false;
};

/// Memory is the graphs' while one lives.
class Opened {
 public:
  explicit Opened(GraphMemory& memory) : memory_(memory) { memory_.open(); }
  ~Opened() { memory_.close(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  GraphMemory& memory_;
};

}  // namespace

Graphs::~Graphs() { drop(); }

void Graphs::drop() {
  if (graphs_.empty()) return;
  cudaStreamSynchronize(engine_stream());  // the last launch may still be under way
  for (cudaGraphExec_t graph : graphs_)
    if (graph) cudaGraphExecDestroy(graph);
  graphs_.clear();
  if (memory_) memory_.emplace();
}

void Graphs::capture(size_t which, const std::function<void()>& work) try {
  const Opened opened(*memory_);
  Capture capture;
  work();
  graphs_[which] = capture.finish();
} catch (const Error& error) {
  obstacle_ = error.what();
  memory_.reset();
}

void Graphs::run(int number, const std::function<void()>& work) {
  const auto which = static_cast<size_t>(number);
  if (graphs_.size() <= which) graphs_.resize(which + 1);
  if (obstacle_.empty() && !graphs_[which]) capture(which, work);
  if (!obstacle_.empty()) return work();
  CUDA_CHECK(cudaGraphLaunch(graphs_[which], engine_stream()));
}

}  // namespace ld
