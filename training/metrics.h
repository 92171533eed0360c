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

/// Gathers what the micro-batches of a step measure, on the device: nothing waits for it before `read`.
class StepGatherer {
 public:
  explicit StepGatherer(int64_t micro_batches) : micro_batches_(micro_batches) {}

  void add(const Losses& losses);
  /// Compares the masks' decisions with those in `before`, unless that is empty, and puts them in its place.
  void add_flips(const std::vector<MaskDecisions>& now, std::vector<Tensor>& before);
  /// The means over the micro-batches added so far, in one read from the device.
  StepMetrics read() const;

 private:
  int64_t micro_batches_, added_ = 0, columns_ = 0;
  Tensor values_;  // (micro-batches, 2 + masks · mask_statistics): cross-entropy, penalty, statistics
  Tensor flips_;   // (masks)
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
