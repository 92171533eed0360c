// The parameters of a model: named leaves in the order they were made.
#pragma once

#include <string>
#include <vector>

#include "autograd/var.h"

namespace ld {

struct Parameter {
  std::string name;  // "blocks.0.attention.qkv.weight", as in checkpoints
  Var var;
  bool decays;  // weight decay applies: matrices and embeddings, not layernorms, biases and shifts
};

/// Makes parameters. A weight's first value depends on the seed, its place in that order, and nothing else.
class Parameters {
 public:
  Parameters(DType dtype, uint64_t seed) : dtype_(dtype), seed_(seed) {}

  /// Normally distributed with mean 0; decays.
  Var normal(const std::string& name, const Shape& shape, double deviation);
  /// All elements equal; does not decay.
  Var constant(const std::string& name, const Shape& shape, double value);

  const std::vector<Parameter>& all() const { return all_; }
  /// Number of elements in all parameters.
  int64_t elements() const;
  void zero_gradients();

 private:
  Var add(const std::string& name, Tensor value, bool decays);

  DType dtype_;
  uint64_t seed_;
  std::vector<Parameter> all_;
};

}  // namespace ld
