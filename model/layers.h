// The plainest parts of a transformer: a few parameters and one formula each.
#pragma once

#include "model/parameters.h"

namespace ld {

/// y = x·Wᵀ [+ b], W (out, in).
struct Linear {
  Var weight, bias;
  Linear() = default;
  Linear(Parameters& p, const std::string& name, int64_t in, int64_t out, bool use_bias,
         double deviation = 0.02);
  Var operator()(const Var& x) const;
};

struct LayerNorm {
  Var weight, bias;
  LayerNorm() = default;
  LayerNorm(Parameters& p, const std::string& name, int64_t C, bool use_bias);
  Var operator()(const Var& x) const;
};

}  // namespace ld
