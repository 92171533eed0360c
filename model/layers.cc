#include "model/layers.h"

#include "ops/layernorm.h"
#include "ops/linear.h"

namespace ld {

Linear::Linear(Parameters& p, const std::string& name, int64_t in, int64_t out, bool use_bias,
               double deviation)
    : weight(p.normal(name + ".weight", {out, in}, deviation)) {
  if (use_bias) bias = p.constant(name + ".bias", {out}, 0);
}

Var Linear::operator()(const Var& x) const { return linear(x, weight, bias); }

LayerNorm::LayerNorm(Parameters& p, const std::string& name, int64_t C, bool use_bias)
    : weight(p.constant(name + ".weight", {C}, 1)) {
  if (use_bias) bias = p.constant(name + ".bias", {C}, 0);
}

Var LayerNorm::operator()(const Var& x) const { return layernorm(x, weight, bias); }

Var ResidualStream::read(const LayerNorm& layernorm) {
  if (!added_) return layernorm(x_);
  const SumAndNorm both = add_layernorm(x_, std::exchange(added_, {}), layernorm.weight, layernorm.bias);
  x_ = both.sum;
  return both.y;
}

void ResidualStream::add(Var y) {
  check(!added_, "residual stream: something was added and not read");
  added_ = std::move(y);
}

}  // namespace ld
