// What a run writes down as it goes: a line per step and per estimate in metrics.jsonl, and the same numbers
// as curves for TensorBoard.
#pragma once

#include <fstream>
#include <string>

#include "training/checkpoint.h"
#include "training/events.h"
#include "training/metrics.h"
#include "training/run_folder.h"

namespace ld {

class RunLog {
 public:
  /// Goes on from `state`: what a killed run has written beyond its checkpoint, or only in part, is dropped.
  RunLog(const RunFolder& folder, const RunConfig& config, const RunState& state);

  void write_step(int64_t step, const StepMetrics& metrics);
  void write_estimate(int64_t step, const Estimate& train, const Estimate& val);

 private:
  void write_line(const std::string& line);

  std::string path_;  // of metrics.jsonl
  ModelConfig model_;
  std::vector<std::string> mask_names_;
  int64_t layers_interval_;  // steps between two records of single layers' curves
  std::ofstream lines_;
  EventFile events_;
};

}  // namespace ld
