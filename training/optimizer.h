// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as PyTorch computes it. For each parameter p with
// gradient g, in its t-th update:
//   p ← p − lr·λ·p                                         (only where the parameter decays)
//   m ← β₁m + (1 − β₁)g      v ← β₂v + (1 − β₂)g²
//   p ← p − lr · (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)
// A parameter that has received no gradient is left alone: no update and no decay. p is the parameter's
// master; where the model reads a rounded copy of it (model/parameters.h), the same pass over memory renews
// the copy.
#pragma once

#include "model/parameters.h"

namespace ld {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
};

class AdamW {
 public:
  /// What is remembered of one parameter; empty tensors until its first update.
  struct Moments {
    Tensor m, v;  // of the dtype of the parameter's master
    int64_t updates = 0;
  };

  AdamW(const Parameters& parameters, const AdamWOptions& options);

  /// Euclidean norm of all gradients together, the same bits in every run; not finite if one of them is not.
  double gradient_norm() const;
  /// One update of every parameter that has a gradient, with all gradients multiplied by `gradient_scale`.
  void step(double lr, double gradient_scale = 1);

  /// In the order of parameters.all(); a checkpoint stores and restores them.
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  const Parameters& parameters_;
  AdamWOptions options_;
  std::vector<Moments> moments_;
};

/// The scale that brings a gradient of norm `norm` down to `limit`, as PyTorch's clip_grad_norm_ has it:
/// min(1, limit / (norm + 10⁻⁶)). A limit of 0 is none.
double clip_factor(double norm, double limit);

}  // namespace ld
