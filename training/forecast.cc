#include "training/forecast.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "autograd/tape.h"
#include "ops/cross_entropy.h"
#include "training/text.h"

namespace ld {
namespace {

struct Sample {
  double activations, workspace, seconds;
};

// One forward and backward pass over B sequences.
Sample measure(Transformer& model, const RunConfig& config, const Dataset& data, int64_t B) {
  const NoiseKey key{static_cast<uint64_t>(config.seed), 0, 0, 0};
  const Batch batch = draw_batch(data.train, B, config.model_config.context_size, key);
  reset_memory_peaks();
  const auto before = memory_report();
  const auto begin = std::chrono::steady_clock::now();
  {
    Tape tape;
    Losses losses = model(batch.ids, batch.targets, Pass{.training = true, .noise = key});
    tape.backward(losses.loss);
    losses.loss.value().item();  // waits for the device
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const auto after = memory_report();
  model.parameters().zero_gradients();
  auto peak = [&](MemoryUse use) {
    const auto i = static_cast<size_t>(use);
    return static_cast<double>(after.by_use[i].peak - before.by_use[i].now);
  };
  return {peak(MemoryUse::activations), peak(MemoryUse::workspace), seconds.count()};
}

// A line through two measurements.
double extrapolated(double x0, double y0, double x1, double y1, double x) {
  return x0 == x1 ? y1 : y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

// The machine's memory, or a container's limit.
int64_t usable_memory() {
  int64_t usable = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), limit = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit)
    usable = std::min(usable, limit);  // else it says "max"
  return usable;
}

}  // namespace

Forecast weigh(const Transformer& model) {
  Forecast f;
  for (const Parameter& p : model.parameters().all()) {
    f.weights += p.master.bytes() + (p.has_copy() ? p.var.value().bytes() : 0);
    f.optimizer += 2 * p.master.bytes();
    f.gradients += p.master.bytes();
  }
  return f;
}

Forecast forecast(Transformer& model, const RunConfig& config, const Dataset& data, int64_t steps_done) {
  const int64_t T = config.model_config.context_size, B = config.batch_size;
  // Two sizes beyond the chunk of rows in which the output layer works, so that what grows with the batch and
  // what does not can be told apart.
  const int64_t chunk = output_rows_at_once(config.model_config.alphabet_size, config.model_dtype());
  const int64_t small = std::min(B, (chunk + T - 1) / T + 1), large = std::min(B, 2 * small);
  measure(model, config, data, large);  // the first pass of a size also pays for its memory and for start-up
  const Sample a = measure(model, config, data, small), b = measure(model, config, data, large);
  pool_release_cached();

  const auto batch = static_cast<double>(B), xa = static_cast<double>(small), xb = static_cast<double>(large);
  Forecast f = weigh(model);
  f.activations = static_cast<int64_t>(extrapolated(xa, a.activations, xb, b.activations, batch));
  f.workspace = static_cast<int64_t>(std::max(a.workspace, b.workspace));
  f.tokens_per_second = xb * static_cast<double>(T) / b.seconds;
  const double micro_batch = batch * static_cast<double>(T) / f.tokens_per_second;
  f.step_seconds = micro_batch * static_cast<double>(config.gradient_accumulation_steps);
  f.steps = std::max<int64_t>(0, config.train_steps - steps_done);
  // One at each multiple of est_interval and one at the end.
  const int64_t estimates = (config.train_steps + config.est_interval - 1) / config.est_interval -
                            std::min(steps_done, config.train_steps) / config.est_interval;
  // Evaluation has no backward pass: about a third of the work of training.
  f.run_seconds = f.step_seconds * static_cast<double>(f.steps) +
                  static_cast<double>(estimates * 2 * config.est_steps) * micro_batch / 3;
  return f;
}

std::string forecast_text(const Forecast& f, const RunConfig& config) {
  auto row = [](const char* what, int64_t bytes) {
    return fmt::format("  {:<12}{:>10}\n", what, bytes_text(bytes));
  };
  std::string text = "memory\n" + row("weights", f.weights) + row("gradients", f.gradients) +
                     row("optimizer", f.optimizer) + row("activations", f.activations) +
                     row("workspace", f.workspace) + row("together", f.memory());
  const int64_t tokens =
      config.batch_size * config.model_config.context_size * config.gradient_accumulation_steps;
  text += fmt::format("time      about {} tokens/s: {} for a step of {} tokens, {} for {} steps\n",
                      grouped(static_cast<int64_t>(f.tokens_per_second)), duration_text(f.step_seconds),
                      grouped(tokens), duration_text(f.run_seconds), grouped(f.steps));
  const int64_t usable = usable_memory();
  const bool characters = config.model_config.alphabet_size <= 256;
  const char* smaller = characters ? "configs/shakespeare_cpu.toml" : "configs/quickstart.toml";
  if (std::string(device_name()) == "cpu" && f.memory() > usable)
    text += fmt::format(
        "warning   there are {} of memory here: lower batch_size and raise gradient_accumulation_steps by "
        "the same factor, or train {} instead\n",
        bytes_text(usable), smaller);
  if (f.run_seconds > 2 * 86400.0)
    text += fmt::format("note      that is long for this machine; {} is a whole run in minutes\n", smaller);
  return text;
}

}  // namespace ld
