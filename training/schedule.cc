#include "training/schedule.h"

#include <cmath>
#include <numbers>

namespace ld {

double learning_rate(const RunConfig& config, int64_t step) {
  if (!config.decay_lr) return config.lr;
  const double s = static_cast<double>(step + 1), warmup = static_cast<double>(config.warmup_iters),
               end = static_cast<double>(config.lr_decay_iters);
  if (s < warmup) return config.lr * s / warmup;
  if (s > end) return config.min_lr;
  const double done = (s - warmup) / (end - warmup);
  return config.min_lr + 0.5 * (1 + std::cos(std::numbers::pi * done)) * (config.lr - config.min_lr);
}

}  // namespace ld
