// Work that is done again and again alike: on a GPU it is launched as a CUDA graph. A training step is a
// thousand small kernels; launched one by one they cost the host more time than the device needs to run them.
//
//   Graphs graphs;
//   graphs.run(0, [&] { y = f(x); });   // the first time: captured, then launched
//   graphs.run(0, [&] { y = f(x); });   // from then on: launched again, the function is not called
//
// A launched graph does what was captured, with the same arguments at the same addresses. So whatever differs
// from one launch to the next lies in device memory that the work reads and somebody else has written before:
// tokens, noise (NoisePlace), coefficients. The work may not read the device, wait for it, or copy from host
// memory that is not pinned. Memory comes from the pool's cached blocks: do the work twice without capturing
// it before. If capturing fails, the work is done once more, and tensors that the first try made hold
// nothing: what is added to must be zeroed by the work. The blocks stay set aside for the graphs (GraphMemory),
// which share them: what a graph leaves in a tensor it made is good until another one is launched.
//
// The CPU has no launches to save: there the work is simply done.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory.h"

#ifndef ENGINE_CPU
struct CUgraphExec_st;  // CUDA's
#endif

namespace ld {

#ifdef ENGINE_CPU

class Graphs {
 public:
  void run(int /*which*/, const std::function<void()>& work) { work(); }
  void drop() {}
  std::string obstacle() const { return {}; }
};

#else

class Graphs {
 public:
  Graphs() = default;
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  /// Does `work`, which is captured at the first call for this `which`. If that fails, it and every later
  /// work is done without a graph: graphs may rely on the memory of others.
  void run(int which, const std::function<void()>& work);
  /// Forgets what was captured, so that the memory set aside serves others again: before work of the same kind
  /// is done outside of graphs, which would leave its results at other addresses than they know.
  void drop();
  /// Why no graph is used, in one line; empty if nothing stands in the way.
  std::string obstacle() const { return obstacle_; }

 private:
  void capture(size_t which, const std::function<void()>& work);

  std::optional<GraphMemory> memory_{std::in_place};  // none once there is an obstacle
  std::vector<CUgraphExec_st*> graphs_;               // null where none has been captured
  std::string obstacle_;
};

#endif

}  // namespace ld
