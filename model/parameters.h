// The parameters of a model: named leaves in the order they were made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/var.h"

namespace ld {

struct Parameter {
  std::string name;  // "blocks.0.attention.qkv.weight", as in checkpoints
  Var var;
  bool decays;           // weight decay applies: matrices and embeddings, not vectors
  double lr_factor = 1;  // its learning rate is the run's times this
};

/// Makes parameters. The first values of the n-th one depend on the seed, on n and on nothing else. Without a
/// seed they are left unset, for who only wants to count them.
class Parameters {
 public:
  Parameters(DType dtype, std::optional<uint64_t> seed) : dtype_(dtype), seed_(seed) {}

  /// Normally distributed. What has two dimensions or more decays.
  Var normal(const std::string& name, const Shape& shape, double deviation, double mean = 0,
             double lr_factor = 1);
  /// All elements equal.
  Var constant(const std::string& name, const Shape& shape, double value);

  const std::vector<Parameter>& all() const { return all_; }
  /// Number of elements in all parameters.
  int64_t elements() const;
  void zero_gradients();

 private:
  Var add(const std::string& name, Tensor value, double lr_factor = 1);

  DType dtype_;
  std::optional<uint64_t> seed_;
  std::vector<Parameter> all_;
};

}  // namespace ld
