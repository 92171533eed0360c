// Normally distributed numbers from the counter-based generator, by the Box–Muller transform.
#pragma once

#include "engine/random.h"
#include "engine/tensor.h"

namespace ld {

/// Element i of t becomes mean + deviation · n_i, n_i standard normal, a pure function of (key, i). Computed
/// in float64 on the host, so that every device starts from the same weights.
void fill_normal(const Tensor& t, double mean, double deviation, NoiseKey key);

}  // namespace ld
