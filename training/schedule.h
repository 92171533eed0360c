// The learning rate over the steps: a linear warm-up, half a cosine from lr down to min_lr, then min_lr.
#pragma once

#include "training/run_config.h"

namespace ld {

/// Learning rate of the step that turns `step` steps done into step + 1.
double learning_rate(const RunConfig& config, int64_t step);

}  // namespace ld
