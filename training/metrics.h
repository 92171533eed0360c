// What a run measures, and the names under which it is logged.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "model/transformer.h"

namespace ld {

/// The statistics of one mask, in the order of MaskStatistic.
using MaskStatistics = std::array<double, mask_statistics>;

/// What one optimizer step measured; losses and statistics are means over its micro-batches.
struct StepMetrics {
  double cross_entropy = 0, penalty = 0;
  std::vector<MaskStatistics> masks;  // of each LearnedDropout, in the order of learned_dropout_names
  std::vector<double> flips;          // of each: the share of its decisions that were others a step before;
                                      // empty in a run's first step
  double gradient_norm = 0;           // of the whole step's gradient, before clipping
  double lr = 0, seconds = 0;

  double loss() const { return cross_entropy + penalty; }
  /// Mean over the masks.
  double mean(MaskStatistic statistic) const;
};

/// Means over est_steps batches in evaluation mode.
struct Estimate {
  double loss = 0, error_rate = 0;
};

/// What one micro-batch measures, on the device.
struct Measured {
  Tensor losses;      // (2): cross-entropy and penalty
  Tensor statistics;  // (masks, mask_statistics)
  Tensor flips;       // (masks): where asked for
};
Measured measured(const Losses& losses);
/// The share of each mask's decisions that are others than those in `before`; these then are put in its
/// place. No tensor if nothing was there.
Tensor flips_since(std::vector<Tensor>& before, const std::vector<MaskDecisions>& now);

/// Gathers what the micro-batches of a step measure, on the device: nothing waits for it before `read`.
class StepGatherer {
 public:
  explicit StepGatherer(int64_t micro_batches) : micro_batches_(micro_batches) {}

  /// Copies, so that the next micro-batch may write to the same memory.
  void add(const Measured& measured);
  /// (micro-batches, 2): cross-entropy and penalty, zero where none has been added yet.
  const Tensor& losses() const { return losses_; }
  /// The means over the micro-batches added so far; waits for the device.
  StepMetrics read() const;

 private:
  int64_t micro_batches_, added_ = 0;
  Tensor losses_, statistics_;  // a row for each micro-batch
  Tensor flips_;
};

/// One number of a step as it is logged: under `key` in metrics.jsonl, under `tag` in TensorBoard.
struct LoggedNumber {
  std::string key, tag;
  double value;
};

/// The numbers of step `step` (counted from 1), as far as the model has them.
std::vector<LoggedNumber> logged_numbers(const StepMetrics& metrics, const ModelConfig& model, int64_t step);

/// The statistics of single masks: key "ones", tag "mask/ones", one value per mask.
struct LoggedLayers {
  std::string key, tag;
  std::vector<double> values;
};
std::vector<LoggedLayers> logged_layers(const StepMetrics& metrics);

}  // namespace ld
