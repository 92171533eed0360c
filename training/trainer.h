// The training loop: steps, estimates, checkpoints, and what a person sees of them.
#pragma once

#include <chrono>
#include <fstream>
#include <optional>
#include <string>

#include "model/transformer.h"
#include "training/checkpoint.h"
#include "training/console.h"
#include "training/dataset.h"
#include "training/optimizer.h"

namespace ld {

/// What one optimizer step measured, means over its micro-batches.
struct StepMetrics {
  double cross_entropy = 0, penalty = 0;
  double ones = 0;  // fraction of ones in all masks; the other statistics likewise
  double l1_norm = 0, entropy = 0, above_90 = 0, below_10 = 0;
  double gradient_norm = 0;  // of the whole step's gradient
  double lr = 0, seconds = 0;
};

/// Means over est_steps batches in evaluation mode.
struct Estimate {
  double loss = 0, error_rate = 0;
};

enum class RunStart { fresh, resume, overwrite };
enum class RunEnd { finished, interrupted };

/// A run and its folder:
///   config.toml        the resolved config
///   metrics.jsonl      a line per step and per estimate
///   last.safetensors   everything needed to go on, from at most checkpoint_interval steps ago
///   best.safetensors   the same at the lowest validation loss so far
class Trainer {
 public:
  /// `fresh` refuses a folder that holds a run; `resume` goes on from its last checkpoint.
  Trainer(const RunConfig& config, Transformer& model, const Dataset& data, const std::string& folder,
          RunStart start);

  /// Trains until train_steps steps are done, or until interrupted() after the step at hand.
  RunEnd run();

  const RunState& state() const { return state_; }

 private:
  StepMetrics step();
  /// Forward and backward of micro-batch i of the step at hand: adds its share to the gradients.
  Losses run_micro_batch(int64_t i);
  /// Does the step at hand again to find the op that made `what` not finite, and throws its name.
  [[noreturn]] void stop_at_anomaly(const std::string& what);
  /// Nothing when interrupted().
  std::optional<Estimate> estimate(const TokenFile& file, uint32_t site, const std::string& what);
  bool estimate_is_due() const;
  bool estimate_both();  // false when interrupted()
  void save_last();
  void open_metrics();
  void write_metrics(const std::string& line);
  NoiseKey noise(int64_t micro_batch, uint32_t site = 0) const;
  void show_step(const StepMetrics& metrics);

  RunConfig config_;
  Transformer& model_;
  const Dataset& data_;
  std::string folder_;
  AdamW optimizer_;
  RunState state_;
  int64_t first_step_ = 0;  // of this process
  int64_t saved_step_ = 0;  // in last.safetensors
  std::chrono::steady_clock::time_point saved_at_ = std::chrono::steady_clock::now();
  double step_seconds_ = 0;  // running mean
  std::ofstream metrics_;
  Console console_;
};

}  // namespace ld
