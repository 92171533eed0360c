// A tape to look at: as a table, and as a graph for Graphviz (dot -Tsvg tape.dot -o tape.svg).
//
//   TapeTrace trace;                      // from here on, what this thread computes is noted down
//   Tape tape;
//   tape.backward(model(batch));
//   std::cout << trace.table();
//   std::ofstream("tape.dot") << trace.dot();
//
// One row per op that calls record(), in order of execution, on the tape or not. What its columns count:
//   bytes      of the outputs
//   saved      what dropping the node gave back to the memory pool: tensors that its closure alone still
//              held, as large as the pool's blocks. A tensor saved by several nodes counts where the last of
//              them, the first in order of execution, is dropped; one that a Var elsewhere holds, nowhere
//   forward    milliseconds since the op before it ended: whatever ran in between is included
//   backward   milliseconds of its closure
//   gradient   Euclidean norm of the gradients of its outputs together, when backward came to it
// and of leaves
//   gradient   the same of all that has been accumulated, at the time of printing
// A dash: there is none (not on the tape, no backward yet, or nothing has reached it).
//
// Before each reading of the clock the device is waited for, so times are true on a GPU, but their sum is
// that of a run in which nothing overlaps.
#pragma once

#include <chrono>
#include <optional>

#include "autograd/op_log.h"

namespace ld {

/// Computed on the host, in float64.
double sum_of_squares(const Tensor& t);

class TapeTrace : public TapeObserver {
 public:
  struct Measured {
    double forward_ms = 0;
    std::optional<double> backward_ms = {}, gradient = {};
    std::optional<int64_t> saved = {};
  };

  TapeTrace() : clock_(now()) {}

  std::string table() const;
  /// The same as a directed graph: boxes are ops, dashed where they are not on the tape; ellipses are leaves.
  std::string dot() const;

  const OpLog& log() const { return log_; }
  /// In the order of log().ops().
  const std::vector<Measured>& measured() const { return measured_; }

  void after_forward(const char* name, const std::vector<Var>& inputs,
                     const std::vector<Var>& outputs) override;
  void before_backward(const Node& node) override;
  void after_backward(const Node& node) override;
  void after_drop() override;

 private:
  using Clock = std::chrono::steady_clock;
  static Clock::time_point now();  // when all kernels launched so far have finished
  double lap();                    // milliseconds since clock_, which is set to now
  Measured* measured_of(const Node& node);

  OpLog log_;
  std::vector<Measured> measured_;
  Clock::time_point clock_;
  Measured* at_ = nullptr;  // the op backward is at; null if it was recorded before this trace began
  int64_t live_bytes_ = 0;  // just before its node is dropped
};

}  // namespace ld
