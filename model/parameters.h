// The parameters of a model: named leaves in the order they were made.
//
// A bfloat16 model computes with weights of 8 significant bits, in which an update of less than a 512th of a
// weight would be lost. So every parameter has a master: the float32 number that the optimizer updates and a
// checkpoint saves. What the model reads is the master rounded, renewed whenever the master changes. In the
// other dtypes the two are one tensor. Gradients have the master's dtype.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/var.h"

namespace ld {

struct Parameter {
  std::string name;  // "blocks.0.attention.qkv.weight", as in checkpoints
  Var var;
  Tensor master;
  bool decays;           // weight decay applies: matrices and embeddings, not vectors
  double lr_factor = 1;  // its learning rate is the run's times this

  bool has_copy() const { return master.dtype() != var.dtype(); }
  /// Rounds the master for the model again, after somebody has written to it (the optimizer does it itself).
  void renew_copy() const;
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
  /// Of masters, gradients and losses.
  DType master_dtype() const { return dtype_ == DType::bfloat16 ? DType::float32 : dtype_; }
  void zero_gradients();

 private:
  Var add(const std::string& name, Tensor master, double lr_factor = 1);

  DType dtype_;
  std::optional<uint64_t> seed_;
  std::vector<Parameter> all_;
};

}  // namespace ld
