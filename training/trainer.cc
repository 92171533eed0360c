#include "training/trainer.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "autograd/anomaly.h"
#include "model/sites.h"
#include "ops/unary.h"
#include "training/interrupt.h"
#include "training/safe_file.h"
#include "training/schedule.h"

namespace ld {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr std::chrono::minutes longest_unsaved{10};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// A means over blocks, in the order of MaskStatistic.
std::vector<double> mean_over_blocks(const std::vector<Tensor>& masks) {
  std::vector<double> mean(mask_statistics, 0.0);
  for (const Tensor& block : masks) {
    const auto values = block.to_vector();
    for (size_t k = 0; k < mean.size(); ++k) mean[k] += values[k] / static_cast<double>(masks.size());
  }
  return mean;
}

std::string loss_text(const StepMetrics& m, bool has_penalty, bool has_masks) {
  std::string text = fmt::format("loss {:.4f}", m.cross_entropy + m.penalty);
  if (has_penalty)
    text += fmt::format(" = cross-entropy {:.4f} + penalty {:.4f}", m.cross_entropy, m.penalty);
  if (has_masks) text += fmt::format("  ones {:.1f} %", 100 * m.ones);
  return text;
}

bool has_penalty(const ModelConfig& model) {
  return model.use_dropout_l1_norm_penalty || model.use_dropout_entropy_penalty;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, Transformer& model, const Dataset& data, const std::string& folder,
                 RunStart start)
    : config_(config),
      model_(model),
      data_(data),
      folder_(folder),
      optimizer_(model.parameters(),
                 {.beta1 = config.beta1, .beta2 = config.beta2, .weight_decay = config.weight_decay}) {
  const std::string last = folder_ + "/last.safetensors";
  const bool exists = fs::exists(last);
  if (start == RunStart::fresh)
    check(!exists, folder_,
          ": already holds a run; continue it with --resume, replace it with --overwrite, or choose ",
          "another folder with --out");
  if (start == RunStart::resume) {
    check(exists, folder_,
          ": holds no checkpoint to resume (last.safetensors); start the run without --resume");
    state_ = load_checkpoint(last, config_, model_.parameters(), optimizer_);
  }
  make_directory(folder_);
  for (const auto& entry : fs::directory_iterator(folder_))  // what a killed run was writing
    if (entry.path().extension() == ".tmp") fs::remove(entry.path());
  if (start == RunStart::overwrite)
    for (const char* file : {"/last.safetensors", "/best.safetensors", "/metrics.jsonl"})
      fs::remove(folder_ + file);
  SafeFile resolved(folder_ + "/config.toml");
  resolved.write(to_toml(config_));
  resolved.finish();
  resolved.publish();
  first_step_ = saved_step_ = state_.step;
  open_metrics();
}

// After a kill the file may be ahead of the checkpoint, or end in half a line: what is not covered by the
// checkpoint is dropped, and the resumed run writes it again.
void Trainer::open_metrics() {
  const std::string path = folder_ + "/metrics.jsonl";
  std::string kept;
  if (std::ifstream old(path); old && state_.step > 0)
    for (std::string line; std::getline(old, line);) {
      const json entry = json::parse(line, nullptr, false);
      const bool estimate = entry.is_object() && entry.contains("val_loss");
      const int64_t covered = estimate ? state_.estimated_step : state_.step;
      if (entry.is_object() && entry.value("step", covered + 1) <= covered) kept += line + "\n";
    }
  SafeFile file(path);
  file.write(kept);
  file.finish();
  file.publish();
  metrics_.open(path, std::ios::app);
  check(metrics_.is_open(), path, ": cannot be written");
}

void Trainer::write_metrics(const std::string& line) {
  metrics_ << line << '\n' << std::flush;
  check(metrics_.good(), folder_,
        "/metrics.jsonl: cannot be written; is the disk full? Make room, then --resume");
}

NoiseKey Trainer::noise(int64_t micro_batch, uint32_t site) const {
  return {static_cast<uint64_t>(config_.seed), static_cast<uint32_t>(state_.step),
          static_cast<uint32_t>(micro_batch * config_.batch_size), site};
}

Losses Trainer::run_micro_batch(int64_t i) {
  const int64_t micro_batches = config_.gradient_accumulation_steps;
  const Batch batch = draw_batch(data_.train, config_.batch_size, config_.model_config.context_size,
                                 noise(i, sites::train_batches));
  observed("batch");
  Tape tape;
  Losses losses = model_(batch.ids, batch.targets, Pass{.training = true, .noise = noise(i)});
  tape.backward(micro_batches == 1 ? losses.loss
                                   : scale(losses.loss, 1.0 / static_cast<double>(micro_batches)));
  return losses;
}

// The weights are still those from before the step, and batches and noise are functions of the step: done
// again, it computes the same bits, this time with every op checked.
void Trainer::stop_at_anomaly(const std::string& what) {
  std::string culprit = "none: done again, every result was finite, so they overflow where they are summed";
  model_.parameters().zero_gradients();
  int64_t i = 0;
  try {
    for (; i < config_.gradient_accumulation_steps; ++i) {
      const ObserverPause pause;  // of a profile
      AnomalyMode watch;
      run_micro_batch(i);
    }
  } catch (const Error& error) {
    culprit = fmt::format("micro-batch {}/{}, {}", i + 1, config_.gradient_accumulation_steps, error.what());
  }
  fail("step ", state_.step + 1, ": ", what, " is not finite. The checkpoints in ", folder_,
       " are from before; start ", "another run with a lower lr. The first op to blame:\n", culprit);
}

StepMetrics Trainer::step() {
  const ModelConfig& model = config_.model_config;
  const int64_t micro_batches = config_.gradient_accumulation_steps;
  const double share = 1.0 / static_cast<double>(micro_batches);
  const auto begin = Clock::now();
  StepMetrics sum;
  model_.parameters().zero_gradients();
  for (int64_t i = 0; i < micro_batches; ++i) {
    if (i == 0 && state_.step == first_step_)
      console_.status(fmt::format("step {}  micro-batch 1/{}  (the first is being worked on)",
                                  state_.step + 1, micro_batches));
    const Losses losses = run_micro_batch(i);
    if (!std::isfinite(losses.loss.value().item())) stop_at_anomaly("the loss");
    sum.cross_entropy += share * losses.cross_entropy.value().item();
    if (losses.penalty) sum.penalty += share * losses.penalty.value().item();
    const auto masks = mean_over_blocks(losses.masks);
    sum.ones += share * masks[fraction_of_ones];
    sum.l1_norm += share * masks[mean_l1_norm];
    sum.entropy += share * masks[mean_entropy];
    sum.above_90 += share * masks[fraction_above_90];
    sum.below_10 += share * masks[fraction_below_10];

    const double done = static_cast<double>(i + 1), seconds = seconds_since(begin);
    StepMetrics so_far = sum;
    for (double* value : {&so_far.cross_entropy, &so_far.penalty, &so_far.ones}) *value /= share * done;
    if (seconds > 0.5 || step_seconds_ > 0.5)
      console_.status(fmt::format(
          "step {}  micro-batch {}/{}  {}  {} tokens/s  step ends in {}", state_.step + 1, i + 1,
          micro_batches, loss_text(so_far, has_penalty(model), !losses.masks.empty()),
          grouped(std::lround(done * static_cast<double>(config_.batch_size * model.context_size) / seconds)),
          duration_text(seconds / done * (static_cast<double>(micro_batches) - done))));
  }
  observed("metrics");
  sum.gradient_norm = optimizer_.gradient_norm();
  observed("gradient norm");
  if (!std::isfinite(sum.gradient_norm)) stop_at_anomaly("the gradient");
  sum.lr = learning_rate(config_, state_.step);
  optimizer_.step(sum.lr);
  observed("adamw");
  ++state_.step;
  synchronize();
  sum.seconds = seconds_since(begin);
  return sum;
}

void Trainer::show_step(const StepMetrics& m) {
  const ModelConfig& model = config_.model_config;
  step_seconds_ = step_seconds_ == 0 ? m.seconds : 0.95 * step_seconds_ + 0.05 * m.seconds;
  const double tokens =
      static_cast<double>(config_.batch_size * model.context_size * config_.gradient_accumulation_steps);
  const bool masks = model.learned_dropout_config.has_value();
  const std::string text =
      fmt::format("step {}/{}  {}  grad norm {:.3f}  lr {:.2e}  {} tokens/s  ends in {}", state_.step,
                  config_.train_steps, loss_text(m, has_penalty(model), masks), m.gradient_norm, m.lr,
                  grouped(std::lround(tokens / m.seconds)),
                  duration_text(step_seconds_ * static_cast<double>(config_.train_steps - state_.step)));
  // Steps of a second or more are worth a line each; of faster ones, a line each half percent of the run.
  const int64_t every = step_seconds_ >= 1 ? 1 : std::max<int64_t>(1, config_.train_steps / 200);
  const bool worth_a_line = state_.step % every == 0 || state_.step == first_step_ + 1;
  worth_a_line ? console_.line(text) : console_.status(text);

  json entry = {{"step", state_.step},
                {"loss", m.cross_entropy + m.penalty},
                {"cross_entropy", m.cross_entropy},
                {"grad_norm", m.gradient_norm},
                {"lr", m.lr},
                {"seconds", m.seconds}};
  if (has_penalty(model)) entry["penalty"] = m.penalty;
  if (masks)
    entry.update({{"ones", m.ones},
                  {"l1_norm", m.l1_norm},
                  {"entropy", m.entropy},
                  {"above_90", m.above_90},
                  {"below_10", m.below_10}});
  write_metrics(entry.dump());
}

std::optional<Estimate> Trainer::estimate(const TokenFile& file, uint32_t site, const std::string& what) {
  Estimate sum;
  const auto begin = Clock::now();
  const auto batches = static_cast<double>(config_.est_steps);
  for (int64_t i = 0; i < config_.est_steps; ++i) {
    if (interrupted()) return {};
    const Batch batch =
        draw_batch(file, config_.batch_size, config_.model_config.context_size, noise(i, site));
    const Losses losses = model_(batch.ids, batch.targets, Pass{.training = false, .noise = noise(i)});
    sum.loss += losses.cross_entropy.value().item() / batches;
    sum.error_rate += losses.mistakes.item() / batches;
    const double done = static_cast<double>(i + 1), seconds = seconds_since(begin);
    if (seconds > 0.5)
      console_.status(fmt::format("estimating the {} loss: batch {}/{}, {} left", what, i + 1,
                                  config_.est_steps, duration_text(seconds / done * (batches - done))));
  }
  return sum;
}

bool Trainer::estimate_is_due() const {
  return state_.step > 0 && state_.estimated_step != state_.step &&
         (state_.step % config_.est_interval == 0 || state_.step == config_.train_steps);
}

bool Trainer::estimate_both() {
  const auto train = estimate(data_.train, sites::train_estimate, "train");
  const auto val = train ? estimate(data_.val, sites::val_estimate, "val") : std::nullopt;
  if (!val) return false;
  state_.estimated_step = state_.step;
  const bool best = val->loss < state_.best_val_loss;
  console_.line(fmt::format(
      "step {}/{}  estimate  train loss {:.4f} (error rate {:.1f} %)  val loss {:.4f} ({:.1f} %){}",
      state_.step, config_.train_steps, train->loss, 100 * train->error_rate, val->loss,
      100 * val->error_rate, best ? "  best so far" : ""));
  const json entry = {{"step", state_.step},
                      {"train_loss", train->loss},
                      {"val_loss", val->loss},
                      {"train_error_rate", train->error_rate},
                      {"val_error_rate", val->error_rate}};
  write_metrics(entry.dump());
  if (!best) return true;
  state_.best_val_loss = val->loss;
  state_.best_step = state_.step;
  save_checkpoint(folder_ + "/best.safetensors", config_, model_.parameters(), optimizer_, state_);
  observed("checkpoints");
  return true;
}

void Trainer::save_last() {
  save_checkpoint(folder_ + "/last.safetensors", config_, model_.parameters(), optimizer_, state_);
  saved_step_ = state_.step;
  saved_at_ = Clock::now();
  observed("checkpoints");
}

RunEnd Trainer::run() {
  auto stopped = [&] {
    if (saved_step_ != state_.step) save_last();
    console_.line(
        fmt::format("stopped after step {}, saved in {}; --resume goes on from there", state_.step, folder_));
    return RunEnd::interrupted;
  };
  for (;;) {
    // An estimate is a function of the weights: when a run is stopped in the middle of one, the resumed run
    // makes it as its first act.
    if (estimate_is_due()) {
      if (saved_step_ != state_.step) save_last();
      if (!estimate_both()) return stopped();
      save_last();
    }
    if (state_.step >= config_.train_steps) break;
    show_step(step());
    observed("metrics");
    const bool late = Clock::now() - saved_at_ > longest_unsaved;
    if (state_.step % config_.checkpoint_interval == 0 || late) save_last();
    if (interrupted()) return stopped();
  }
  console_.line(fmt::format("finished: {} steps, best val loss {:.4f} at step {}; see {}", state_.step,
                            state_.best_val_loss, state_.best_step, folder_));
  return RunEnd::finished;
}

}  // namespace ld
