// What a run will need, measured on this machine before it starts: a few sequences are trained on for the
// purpose (their updates are never applied), and memory and time extrapolated from them.
#pragma once

#include <string>

#include "model/transformer.h"
#include "training/dataset.h"
#include "training/run_config.h"

namespace ld {

struct Forecast {
  int64_t weights = 0, gradients = 0, optimizer = 0, activations = 0, workspace = 0;  // bytes at the peak
  double tokens_per_second = 0;                                                       // of training
  double step_seconds = 0;
  int64_t steps = 0;       // still to be done
  double run_seconds = 0;  // of those steps and the estimates among them

  int64_t memory() const { return weights + gradients + optimizer + activations + workspace; }
};

/// What follows from the parameters alone: weights, gradients, optimizer.
Forecast weigh(const Transformer& model);
/// Everything, for a run of which `steps_done` are done. Takes seconds for the published models on two CPU
/// cores. Leaves no gradients behind.
Forecast forecast(Transformer& model, const RunConfig& config, const Dataset& data, int64_t steps_done = 0);

/// The memory table and the time estimate, for people, and what to do where this machine is too small.
std::string forecast_text(const Forecast& forecast, const RunConfig& config);

}  // namespace ld
