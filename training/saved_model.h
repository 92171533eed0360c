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

/// The folder of a run that is given as one, or as a checkpoint that lies in it.
std::string folder_of(const std::string& run);

struct SavedModelOptions {
  /// Keep the masks' noise (use_noise_at_inference), which only NOISE_AND_LINEAR has.
  bool stochastic_masks = false;
  /// Of weights and arithmetic: "float32" or "bfloat16"; empty: the run's.
  std::string dtype = {};
};

struct SavedModel {
  /// Reads config and weights of a checkpoint. Error: the file and what is wrong with it, or what the options
  /// ask for that its model has not.
  explicit SavedModel(const std::string& checkpoint, const SavedModelOptions& options = {});

  RunConfig config;
  int64_t step = 0;          // optimizer steps done
  double best_val_loss = 0;  // of the run until then
  std::optional<Transformer> model;
};

/// The tokenizer in `file`; with an empty `file` the copy in the run's folder, or that of the run's data, or nothing
/// where the data are raw token files of which nobody has said what they stand for. Error: it is not there, or has
/// more tokens than the model.
std::optional<Tokenizer> tokenizer_of(const RunConfig& config, const std::string& folder,
                                      const std::string& file = {});

}  // namespace ld
