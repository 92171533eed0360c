// What a run needs to go on as if it had never stopped: weights (the masters, of a bfloat16 model),
// optimizer, the number of steps done, the best loss so far, the resolved config. Everything random is a
// function of the seed and the step, so there is no generator state and no place in the data to remember.
#pragma once

#include <limits>
#include <string>

#include "training/dataset.h"
#include "training/optimizer.h"
#include "training/run_config.h"

namespace ld {

struct RunState {
  int64_t step = 0;  // optimizer steps done
  double best_val_loss = std::numeric_limits<double>::infinity();
  int64_t best_step = 0;
  int64_t estimated_step = 0;  // at which the losses were estimated last
  std::string device = {};     // in words, that wrote the checkpoint this was read from; else empty
  /// Of the masks in the first micro-batch of the last step, to say which flip in the next: the words of their
  /// MaskDecisions. Nothing but a statistic depends on them.
  std::vector<Tensor> decisions = {};
};

/// Writes the file whole or not at all.
void save_checkpoint(const std::string& path, const RunConfig& config, const DataFingerprint& data,
                     const Parameters& parameters, const AdamW& optimizer, const RunState& state);

/// Reads what save_checkpoint wrote into parameters and optimizer. Refuses, with the reason, a file that is
/// damaged or belongs to another model, config or data. What may differ from the saved config: train_steps,
/// sample_tokens, how often estimates and checkpoints are made, and where the data lies as long as it is the
/// same.
RunState load_checkpoint(const std::string& path, const RunConfig& config, const DataFingerprint& data,
                         const Parameters& parameters, AdamW& optimizer);

}  // namespace ld
