// The training loop: steps, estimates, checkpoints, and what a person sees of them.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "engine/graph.h"
#include "model/transformer.h"
#include "training/checkpoint.h"
#include "training/console.h"
#include "training/dataset.h"
#include "training/optimizer.h"
#include "training/run_folder.h"
#include "training/run_log.h"
#include "training/step_inputs.h"

namespace ld {

enum class RunEnd { finished, interrupted };

class Trainer {
 public:
  /// Locks the folder, as RunFolder says, and reads the checkpoint if `start` is `resume`. A run that the folder holds
  /// is changed by run() only.
  Trainer(const RunConfig& config, Transformer& model, const Dataset& data, const std::string& folder,
          RunStart start);

  /// Trains until train_steps steps are done, or until interrupted() after the step at hand.
  RunEnd run();

  const RunState& state() const { return state_; }

 private:
  /// The folder, ready to be written.
  void begin();
  StepMetrics step();
  /// Forward and backward of the micro-batch in inputs_: adds its share to the gradients, which the first one
  /// of a step begins.
  Measured run_micro_batch(bool first);
  /// The same of micro-batch i of the step at hand, by a graph where there is one.
  const Measured& repeat_micro_batch(int64_t i);
  /// Does the step at hand again to find the op that made `what` not finite, and throws its name.
  [[noreturn]] void stop_at_anomaly(const std::string& what);
  /// Nothing when interrupted().
  std::optional<Estimate> estimate(const TokenFile& file, uint32_t site, const std::string& what);
  bool estimate_is_due() const;
  bool estimate_both();  // false when interrupted()
  void save(const std::string& path);
  void save_last();
  NoiseKey noise(int64_t micro_batch, uint32_t site = 0) const;
  void show_progress(const StepMetrics& so_far, int64_t micro_batches, double seconds);
  void show_step(const StepMetrics& metrics);

  RunConfig config_;
  Transformer& model_;
  const Dataset& data_;
  DataFingerprint fingerprint_;
  RunFolder folder_;
  RunStart start_;
  AdamW optimizer_;
  RunState state_;
  std::optional<RunLog> log_;  // from run() on
  StepInputs inputs_;
  Tensor share_;                      // (): of a micro-batch in the loss of its step
  std::array<Measured, 2> measured_;  // by the last first micro-batch of a step, and by the last other one
  Graphs graphs_;                     // of these two kinds
  int64_t first_step_ = 0;            // of this process
  int64_t saved_step_ = 0;            // in last.safetensors
  std::chrono::steady_clock::time_point saved_at_ = std::chrono::steady_clock::now();
  double step_seconds_ = 0;  // running mean
  Console console_{stdout};
};

}  // namespace ld
