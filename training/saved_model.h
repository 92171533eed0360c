// The model of a run's checkpoint, to be used and not trained, and the tokenizer of the data it was trained
// on.
#pragma once

#include <optional>
#include <string>

#include "model/transformer.h"
#include "training/run_config.h"
#include "training/tokenizer.h"

namespace ld {

/// The checkpoint `choice` of a run: "best", "last" or a file; empty takes best, or last where no best is
/// yet. `run` is a run's folder, or a checkpoint itself. Error: what is missing.
std::string find_checkpoint(const std::string& run, const std::string& choice = {});

struct SavedModel {
  /// Reads config and weights of a checkpoint. `stochastic_masks` keeps the masks' noise
  /// (use_noise_at_inference), which only NOISE_AND_LINEAR has. Error: the file and what is wrong with it.
  explicit SavedModel(const std::string& checkpoint, bool stochastic_masks = false);

  RunConfig config;
  int64_t step = 0;          // optimizer steps done
  double best_val_loss = 0;  // of the run until then
  std::optional<Transformer> model;
};

/// The tokenizer in `file`; with an empty `file` that of the run's data, or nothing where the data are raw
/// token files of which nobody has said what they stand for. Error: it is not there, or has more tokens than
/// the model.
std::optional<Tokenizer> tokenizer_of(const RunConfig& config, const std::string& file = {});

}  // namespace ld
