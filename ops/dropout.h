// Bernoulli dropout (Srivastava et al. 2014), scaled so that the expectation stays:
//   y = x ⊙ keep / (1 − rate),  keep = 1 with probability 1 − rate, else 0        dx += dy ⊙ keep / (1 − rate)
// Saves nothing: the noise is drawn again.
#pragma once

#include "autograd/var.h"
#include "engine/random.h"

namespace ld {

/// x (B, …): element e of sample b is dropped when number e of sample b under `key` is below rate, in [0, 1).
Var dropout(const Var& x, double rate, NoiseKey key);

}  // namespace ld
