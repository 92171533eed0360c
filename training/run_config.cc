#include "training/run_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "engine/error.h"
#include "model/config_keys.h"
#include "training/toml_reader.h"
#include "training/toml_writer.h"

namespace ld {
namespace {

using namespace ranges;

constexpr std::string_view dtype_names[] = {"float32", "bfloat16", "float64"};

void visit_keys(KeyVisitor& keys, RunConfig& run) {
  keys.text({"data", "prefix of PREFIX_train.bin, PREFIX_val.bin and PREFIX.toml"}, run.data);
  keys.integer({"seed", "of the initial weights, the batches and all noise"}, run.seed, zero_or_count);
  int dtype = static_cast<int>(std::find(std::begin(dtype_names), std::end(dtype_names), run.dtype) -
                               std::begin(dtype_names));
  keys.choice(
      Key{"dtype", "of weights and arithmetic; bfloat16 keeps float32 masters of the weights"}.defaults_to(
          "bfloat16 on a GPU, float32 elsewhere"),
      dtype, dtype_names);
  if (dtype < std::ssize(dtype_names)) run.dtype = dtype_names[dtype];

  keys.integer(Key{"train_steps", "steps of the whole run"}.required(), run.train_steps, positive_count);
  keys.integer(Key{"batch_size", "sequences per micro-batch"}.required(), run.batch_size, positive_count);
  keys.integer({"gradient_accumulation_steps", "micro-batches per step"}, run.gradient_accumulation_steps,
               positive_count);

  keys.number(Key{"lr", "highest learning rate"}.required(), run.lr, positive);
  keys.flag({"decay_lr", "warm up, then decay along a cosine; false keeps lr constant"}, run.decay_lr);
  keys.integer({"warmup_iters", "steps of linear warmup to lr"}, run.warmup_iters, zero_or_count);
  keys.integer(Key{"lr_decay_iters", "step at which the cosine arrives at min_lr"}.defaults_to("train_steps"),
               run.lr_decay_iters, positive_count);
  keys.number(Key{"min_lr", "learning rate after the decay"}.defaults_to("lr / 10"), run.min_lr,
              zero_or_more);
  keys.number({"beta1", "AdamW's memory of the gradient"}, run.beta1, rate);
  keys.number({"beta2", "AdamW's memory of the squared gradient"}, run.beta2, rate);
  keys.number({"weight_decay", "AdamW's decay of the parameters with two or more dimensions"},
              run.weight_decay, zero_or_more);
  keys.number({"grad_clip", "scale a step's gradient down to this norm where it is larger; 0 does not"},
              run.grad_clip, zero_or_more);

  keys.integer({"est_interval", "steps between two estimates of the train and val losses"}, run.est_interval,
               positive_count);
  keys.integer({"est_steps", "batches per estimate"}, run.est_steps, positive_count);
  keys.integer(Key{"checkpoint_interval",
                   "steps between two saves of the checkpoint 'last', from which a killed run "
                   "goes on"}
                   .defaults_to("est_interval"),
               run.checkpoint_interval, positive_count);
  keys.integer({"sample_tokens", "tokens of a text by the best model, printed when the run ends"},
               run.sample_tokens, zero_or_count);

  if (keys.enter(Key{"model_config", "the model"}.required(), true)) {
    visit_keys(keys, run.model_config);
    keys.leave();
  }
}

std::optional<Problem> find_problem(const RunConfig& run) {
  RunConfig copy = run;  // visitors may change what they see; this one does not
  RangeCheck ranges;
  visit_keys(ranges, copy);
  if (ranges.problem) return ranges.problem;

  if (run.decay_lr && run.min_lr > run.lr)
    return Problem{{"min_lr", "lr"},
                   fmt::format("min_lr = {} is above lr = {}; lower min_lr or raise lr", run.min_lr, run.lr)};
  if (run.decay_lr && run.warmup_iters >= run.lr_decay_iters)
    return Problem{
        {"warmup_iters", "lr_decay_iters", "train_steps"},
        fmt::format("warmup_iters = {} is not below lr_decay_iters = {}; lower it or raise lr_decay_iters",
                    run.warmup_iters, run.lr_decay_iters)};

  auto problem = find_contradiction(run.model_config);
  if (problem)
    for (std::string& key : problem->keys) key.insert(0, "model_config.");
  return problem;
}

KeyLister list_keys() {
  KeyLister lister;
  RunConfig defaults;
  visit_keys(lister, defaults);
  return lister;
}

/// The key to blame: one changed by --set, since the file made sense before; else the likeliest of the file.
std::string culprit(const TomlDocument& document, const Problem& problem) {
  for (const std::string& key : problem.keys)
    if (document.is_overridden(key)) return key;
  for (const std::string& key : problem.keys)
    if (document.find(key)) return key;
  return problem.keys.front();
}

}  // namespace

void RunConfig::validate() const {
  if (const auto problem = find_problem(*this))
    fail("run config: ", problem->keys.front(), ": ", problem->message);
}

DType RunConfig::model_dtype() const {
  for (DType known : {DType::float32, DType::bfloat16, DType::float64})
    if (dtype == name_of(known)) return known;
  fail("run config: dtype: got \"", dtype, "\"; set it to one of ", quoted_list(dtype_names));
}

namespace {

RunConfig read_document(TomlDocument document, std::span<const std::string> overrides = {},
                        std::span<const std::string> removals = {}) {
  const KnownKeys known(list_keys().keys);
  for (const std::string& path : removals) apply_removal(document, known, path);
  for (const std::string& assignment : overrides) apply_override(document, known, assignment);
  refuse_unknown_keys(document, known);

  RunConfig run;
  TomlReader reader(document);
  visit_keys(reader, run);
  // Defaults that follow from other keys.
  if (!document.find("lr_decay_iters")) run.lr_decay_iters = run.train_steps;
  if (!document.find("min_lr")) run.min_lr = run.lr / 10;
  if (!document.find("checkpoint_interval")) run.checkpoint_interval = run.est_interval;

  if (const auto problem = find_problem(run))
    fail(document.where(culprit(document, *problem)), problem->message);
  return run;
}

}  // namespace

RunConfig read_run_config(const std::string& path, std::span<const std::string> overrides,
                          std::span<const std::string> removals) {
  return read_document(TomlDocument(path), overrides, removals);
}

RunConfig parse_run_config(const std::string& text, const std::string& name) {
  return read_document(TomlDocument(text, name));
}

std::string to_toml(const RunConfig& run) {
  RunConfig copy = run;
  TomlWriter writer;
  visit_keys(writer, copy);
  return writer.toml;
}

std::string list_run_config_keys() { return list_keys().list; }

}  // namespace ld
