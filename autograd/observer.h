// Who wants to watch the tape at work: the base of TapeTrace (autograd/trace.h), AnomalyMode
// (autograd/anomaly.h) and Profile (training/profile.h). With nobody watching, an op and a backward step each
// pay one test of a null pointer.
#pragma once

#include <vector>

#include "autograd/var.h"

namespace ld {

struct Node;

/// Watches every op of this thread while it lives, one observer at a time. Observers look on and change
/// nothing: values and gradients have the same bits with and without them.
class TapeObserver {
 public:
  TapeObserver();
  virtual ~TapeObserver();
  TapeObserver(const TapeObserver&) = delete;
  TapeObserver& operator=(const TapeObserver&) = delete;

  /// An op has been computed. Its outputs require a gradient if it is on the tape; ops that need no gradient
  /// come by here too, except those that can never have one (detach, comparisons, noise).
  virtual void after_forward(const char* name, const std::vector<Var>& inputs,
                             const std::vector<Var>& outputs) = 0;
  /// Backward has come to a node: the gradients of its outputs are complete; none where nothing has arrived,
  /// and then the node's closure is not run.
  virtual void before_backward(const Node&) {}
  /// The node has given its inputs their share, and the gradients of its outputs are gone.
  virtual void after_backward(const Node&) {}
  /// The node and what its closure had saved are gone too. Not called when the tape is kept.
  virtual void after_drop() {}

  /// Work that is no op has been done since the last call of any kind: see observed().
  virtual void after_other_work(const char* /*name*/) {}

  static TapeObserver* current();
};

/// Called by whoever has done work that is no op, such as the optimizer: gives it a name for an observer.
void observed(const char* name);

/// While one lives, this thread's observer sees nothing, and another one may watch.
class ObserverPause {
 public:
  ObserverPause();
  ~ObserverPause();
  ObserverPause(const ObserverPause&) = delete;
  ObserverPause& operator=(const ObserverPause&) = delete;

 private:
  TapeObserver* paused_;
};

}  // namespace ld
