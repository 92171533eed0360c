// Everything a training run is told: the published runs' keys under their own names, and a few of ours.
// `read_run_config` accepts only what makes sense together, and otherwise says in one line what does not.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/dtype.h"
#include "model/config.h"

namespace ld {

/// What a run computes with unless it says otherwise. A GPU multiplies matrices of bfloat16 several times
/// faster; the emulated one is slow either way, and does as the CPU does.
#ifdef ENGINE_CUDA
inline constexpr const char* usual_dtype = "bfloat16";
#else
inline constexpr const char* usual_dtype = "float32";
#endif

struct RunConfig {
  std::string data = "data/gcide";  // prefix of PREFIX_train.bin, PREFIX_val.bin and PREFIX.toml
  int64_t seed = 1337;              // of the initial weights, the batches and all noise
  std::string dtype = usual_dtype;  // of weights and arithmetic: "float32", "bfloat16" or "float64"

  int64_t train_steps = 0;
  int64_t batch_size = 0;                   // sequences per micro-batch
  int64_t gradient_accumulation_steps = 1;  // micro-batches per step

  double lr = 0;  // highest learning rate; with decay_lr, after the warmup
  bool decay_lr = true;
  int64_t warmup_iters = 0;
  int64_t lr_decay_iters = 0;  // read_run_config's default: train_steps
  double min_lr = 0;           // read_run_config's default: lr / 10
  double beta1 = 0.9;
  double beta2 = 0.95;
  double weight_decay = 0.1;
  double grad_clip = 0;  // largest norm of a step's gradient, to which a larger one is scaled down; 0: none

  int64_t est_interval = 500;  // steps between two estimates of the train and val losses
  int64_t est_steps = 200;     // batches per estimate

  /// Steps between two saves of the checkpoint `last`: what a killed run loses at most. read_run_config's
  /// default is est_interval, as the checkpoint `best` can only change there anyway.
  int64_t checkpoint_interval = 500;

  int64_t sample_tokens = 0;  // of a text by the best model that is printed when the run ends

  ModelConfig model_config;

  /// Throws ld::Error, naming the first key whose value is out of range or contradicts another's.
  void validate() const;
  /// What `dtype` names.
  DType model_dtype() const;

  bool operator==(const RunConfig&) const = default;
};

/// Reads and validates a TOML file, after taking the keys and sections `removals` ("a.b.c") away from it and changing
/// it by `overrides`, each "a.b.c=value" (the value as in TOML; a bare word is a string). An override creates the
/// sections it needs; the last one of a key wins. Throws ld::Error with one line: "file:line:column: key: …", or
/// "--set a.b.c=value: …" for an override, "--unset a.b.c: …" for a removal.
RunConfig read_run_config(const std::string& path, std::span<const std::string> overrides = {},
                          std::span<const std::string> removals = {});
/// The same of a text, such as to_toml wrote; `name` is what errors call it.
RunConfig parse_run_config(const std::string& text, const std::string& name);

/// The config with every key that applies to it, in a fixed order. Reading it back gives the same config,
/// to the last bit.
std::string to_toml(const RunConfig& run);

/// Every key with its type, range, default and meaning, for --help.
std::string list_run_config_keys();

}  // namespace ld
