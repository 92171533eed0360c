#include "training/trainer.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "autograd/anomaly.h"
#include "autograd/tape.h"
#include "model/sites.h"
#include "training/data_info.h"
#include "training/interrupt.h"
#include "training/safe_file.h"
#include "training/schedule.h"
#include "training/text.h"

namespace ld {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes longest_unsaved{10};
constexpr std::chrono::milliseconds progress_interval{500};  // between two looks at a step under way

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string loss_text(const StepMetrics& m, const ModelConfig& model) {
  std::string text = fmt::format("loss {:.4f}", m.loss());
  if (model.use_dropout_l1_norm_penalty || model.use_dropout_entropy_penalty)
    text += fmt::format(" = cross-entropy {:.4f} + penalty {:.4f}", m.cross_entropy, m.penalty);
  if (!m.masks.empty()) text += fmt::format("  ones {:.1f} %", 100 * m.mean(fraction_of_ones));
  return text;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, Transformer& model, const Dataset& data, const std::string& folder,
                 RunStart start)
    : config_(config),
      model_(model),
      data_(data),
      fingerprint_(fingerprint(data)),
      folder_(folder, start),
      start_(start),
      optimizer_(model.parameters(),
                 {.beta1 = config.beta1, .beta2 = config.beta2, .weight_decay = config.weight_decay}),
      state_(start == RunStart::resume
                 ? load_checkpoint(folder_.last(), config, fingerprint_, model.parameters(), optimizer_)
                 : RunState{}),
      inputs_(model, data.train, config.batch_size),
      share_(Tensor::scalar(1.0 / static_cast<double>(config.gradient_accumulation_steps),
                            model.parameters().master_dtype())),
      first_step_(state_.step),
      saved_step_(state_.step) {}

void Trainer::begin() {
  if (start_ != RunStart::resume) {
    const auto info = read_data_info(config_.data);
    const bool known = info && info->tokenizer_path && fs::exists(*info->tokenizer_path);
    const std::string tokenizer = known ? read_file(*info->tokenizer_path) : "";
    folder_.remove_run();  // or what is left of one that has not come to its first checkpoint
    if (known) write_file(folder_.tokenizer(), tokenizer);
  }
  write_file(folder_.config(), to_toml(config_));
  log_.emplace(folder_, config_, state_);
  if (!state_.device.empty() && state_.device != device_in_words())
    console_.line(fmt::format(
        "note      until here the run was made on {}; from here on its last bits may differ", state_.device));
}

NoiseKey Trainer::noise(int64_t micro_batch, uint32_t site) const {
  return {static_cast<uint64_t>(config_.seed), static_cast<uint32_t>(state_.step),
          static_cast<uint32_t>(micro_batch * config_.batch_size), site};
}

Measured Trainer::run_micro_batch(bool first) {
  if (first) model_.parameters().zero_gradients();
  Pass pass = inputs_.pass();
  pass.decisions = first;
  Tape tape;
  const Losses losses = model_(inputs_.batch().ids, inputs_.batch().targets, pass);
  tape.backward(losses.loss, share_);
  Measured result = measured(losses);
  if (first) result.flips = flips_since(state_.decisions, losses.decisions);
  observed("metrics");
  return result;
}

// In the first step there are no flips yet; after the second the pool has every block that a step needs. Who
// watches single ops gets them one by one.
const Measured& Trainer::repeat_micro_batch(int64_t i) {
  inputs_.load(noise(i));
  observed("batch");
  const bool first = i == 0;
  Measured& result = measured_[first ? 0 : 1];
  auto work = [&] { result = run_micro_batch(first); };
  if (state_.step < first_step_ + 2 || TapeObserver::current()) {
    graphs_.drop();
    work();
  } else {
    graphs_.run(first ? 0 : 1, work);
  }
  return result;
}

// No update has been made since the step began, and batches and noise are functions of the step: done again
// from zeroed gradients, it computes the same bits, this time with AnomalyMode looking at what each op
// returns and adds. Sums over several micro-batches are looked at too, since their gradients gather in the
// same slots.
void Trainer::stop_at_anomaly(const std::string& what) {
  graphs_.drop();  // their memory is needed
  std::string culprit = "none: done again, every result was finite, so they overflow where they are summed";
  int64_t i = 0;
  try {
    for (; i < config_.gradient_accumulation_steps; ++i) {
      inputs_.load(noise(i));
      const ObserverPause pause;  // of a profile
      AnomalyMode watch;
      run_micro_batch(i == 0);
    }
  } catch (const Error& error) {
    culprit = fmt::format("micro-batch {}/{}, {}", i + 1, config_.gradient_accumulation_steps, error.what());
  }
  fail("step ", state_.step + 1, ": ", what, " is not finite. The checkpoints in ", folder_.path(),
       " are from before; start another run with a lower lr. The first op to blame:\n", culprit);
}

StepMetrics Trainer::step() {
  const int64_t micro_batches = config_.gradient_accumulation_steps;
  if (state_.step == first_step_)
    console_.status(fmt::format("step {}  micro-batch 1/{}  (the first is being worked on)", state_.step + 1,
                                micro_batches));
  const auto begin = Clock::now();
  auto shown = begin;
  StepGatherer gathered(micro_batches);
  for (int64_t i = 0; i < micro_batches; ++i) {
    gathered.add(repeat_micro_batch(i));
    if (i + 1 < micro_batches) inputs_.draw(noise(i + 1));
    observed("metrics");
    if (Clock::now() - shown < progress_interval) continue;  // reading waits for the device
    show_progress(gathered.read(), i + 1, seconds_since(begin));
    shown = Clock::now();
  }
  const Tensor norm = optimizer_.gradient_norm();
  observed("gradient norm");
  const double lr = learning_rate(config_, state_.step);
  optimizer_.step(lr, clip_factor(norm, config_.grad_clip, gathered.losses()));
  observed("adamw");
  NoiseKey next = noise(0);
  ++next.step;
  inputs_.draw(next);
  // Only now the host waits for the device. Where a number was not finite, nothing has been updated.
  StepMetrics metrics = gathered.read();
  metrics.gradient_norm = norm.item();
  metrics.lr = lr;
  if (!std::isfinite(metrics.loss())) stop_at_anomaly("the loss");
  if (!std::isfinite(metrics.gradient_norm)) stop_at_anomaly("the gradient");
  ++state_.step;
  if (state_.step == first_step_ + 3 && !graphs_.obstacle().empty())
    console_.line("note      kernels are launched one by one, not as CUDA graphs: " + graphs_.obstacle());
  metrics.seconds = seconds_since(begin);
  return metrics;
}

void Trainer::show_progress(const StepMetrics& so_far, int64_t micro_batches, double seconds) {
  const auto done = static_cast<double>(micro_batches),
             all = static_cast<double>(config_.gradient_accumulation_steps),
             tokens = done * static_cast<double>(config_.batch_size * config_.model_config.context_size);
  console_.status(fmt::format("step {}  micro-batch {}/{}  {}  {} tokens/s  step ends in {}", state_.step + 1,
                              micro_batches, config_.gradient_accumulation_steps,
                              loss_text(so_far, config_.model_config), grouped(std::lround(tokens / seconds)),
                              duration_text(seconds / done * (all - done))));
}

void Trainer::show_step(const StepMetrics& m) {
  step_seconds_ = step_seconds_ == 0 ? m.seconds : 0.95 * step_seconds_ + 0.05 * m.seconds;
  const auto tokens = static_cast<double>(config_.batch_size * config_.model_config.context_size *
                                          config_.gradient_accumulation_steps);
  const std::string text =
      fmt::format("step {}/{}  {}  grad norm {:.3f}  lr {:.2e}  {} tokens/s  ends in {}", state_.step,
                  config_.train_steps, loss_text(m, config_.model_config), m.gradient_norm, m.lr,
                  grouped(std::lround(tokens / m.seconds)),
                  duration_text(step_seconds_ * static_cast<double>(config_.train_steps - state_.step)));
  // Steps of a second or more are worth a line each; of faster ones, a line each half percent of the run.
  const int64_t every = step_seconds_ >= 1 ? 1 : std::max<int64_t>(1, config_.train_steps / 200);
  const bool worth_a_line = state_.step % every == 0 || state_.step == first_step_ + 1;
  worth_a_line ? console_.line(text) : console_.status(text);
}

std::optional<Estimate> Trainer::estimate(const TokenFile& file, uint32_t site, const std::string& what) {
  Estimate sum;
  const auto begin = Clock::now();
  const auto batches = static_cast<double>(config_.est_steps);
  for (int64_t i = 0; i < config_.est_steps; ++i) {
    if (interrupted()) return {};
    const Batch batch =
        draw_batch(file, config_.batch_size, config_.model_config.context_size, noise(i, site));
    observed("batch");
    const Losses losses = model_(batch.ids, batch.targets, Pass{.training = false, .noise = noise(i)});
    sum.loss += losses.cross_entropy.value().item() / batches;
    sum.error_rate += losses.mistakes.item() / batches;
    observed("metrics");
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
  log_->write_estimate(state_.step, *train, *val);
  if (!std::isfinite(val->loss))
    console_.line(fmt::format(
        "warning   the val loss after step {} is not finite; best.safetensors stays {}", state_.step,
        state_.best_step > 0 ? fmt::format("that of step {}", state_.best_step) : "unwritten"));
  if (!best) return true;
  state_.best_val_loss = val->loss;
  state_.best_step = state_.step;
  save(folder_.best());
  observed("checkpoints");
  return true;
}

void Trainer::save(const std::string& path) {
  save_checkpoint(path, config_, fingerprint_, model_.parameters(), optimizer_, state_);
}

void Trainer::save_last() {
  save(folder_.last());
  saved_step_ = state_.step;
  saved_at_ = Clock::now();
  observed("checkpoints");
}

RunEnd Trainer::run() {
  begin();
  auto stopped = [&](const char* where) {
    if (saved_step_ != state_.step) save_last();
    console_.line(fmt::format("stopped after step {}{}, saved in {}; --resume goes on from there",
                              state_.step, where, folder_.path()));
    return RunEnd::interrupted;
  };
  for (;;) {
    // An estimate is a function of the weights: when a run is stopped in the middle of one, the resumed run
    // makes it as its first act.
    if (estimate_is_due()) {
      if (saved_step_ != state_.step) save_last();
      if (!estimate_both()) return stopped(" and before its estimate");
      save_last();
    }
    if (state_.step >= config_.train_steps) break;
    const StepMetrics metrics = step();
    show_step(metrics);
    log_->write_step(state_.step, metrics);
    observed("metrics");
    const bool late = Clock::now() - saved_at_ > longest_unsaved;
    if (state_.step % config_.checkpoint_interval == 0 || late) save_last();
    if (interrupted()) return stopped("");
  }
  console_.line(fmt::format("finished: {} steps, {}; see {}", state_.step,
                            state_.best_step > 0 ? fmt::format("best val loss {:.4f} at step {}",
                                                               state_.best_val_loss, state_.best_step)
                                                 : "no finite val loss",
                            folder_.path()));
  return RunEnd::finished;
}

}  // namespace ld
