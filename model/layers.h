// The plainest parts of a transformer: a few parameters and one formula each.
#pragma once

#include <utility>

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

/// The residual stream of a pre-norm transformer: x, to which every layer adds, and which every layer reads
/// normalised. What was added last waits for the next layer's reading, which is then one pass over memory.
class ResidualStream {
 public:
  explicit ResidualStream(Var x) : x_(std::move(x)) {}
  /// layernorm(x).
  Var read(const LayerNorm& layernorm);
  /// x += y. Once between two readings.
  void add(Var y);

 private:
  Var x_, added_;
};

}  // namespace ld
