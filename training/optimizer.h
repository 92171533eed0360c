// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as PyTorch computes it. For each parameter p with
// gradient g, in its t-th update:
//   p ← p − lr·λ·p                                         (only where the parameter decays)
//   m ← β₁m + (1 − β₁)g      v ← β₂v + (1 − β₂)g²
//   p ← p − lr · (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)
// A parameter that has received no gradient is left alone: no update and no decay. p is the parameter's
// master; where the model reads a rounded copy of it (model/parameters.h), the same pass over memory renews
// the copy.
//
// All parameters are updated by one kernel, which finds its way by a table in device memory. Nothing waits for
// the device: the norm and the scale of the gradient stay there.
#pragma once

#include "engine/staging.h"
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

  /// Euclidean norm of all gradients together, () float64, the same bits in every run; not finite if one of
  /// them is not.
  Tensor gradient_norm();
  /// One update of every parameter that has a gradient, with all gradients multiplied by `gradient_scale`, a
  /// () float64. Where that is NaN nothing is changed but the count of updates. Without one it is 1.
  void step(double lr, const Tensor& gradient_scale = {});

  /// In the order of parameters.all(); a checkpoint stores and restores them.
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  const Parameters& parameters_;
  AdamWOptions options_;
  std::vector<Moments> moments_;
  Tensor pieces_;                      // (pieces, 2) int32: parameter, and which piece of it
  Staging norm_table_, update_table_;  // a line for each parameter
};

/// The scale that brings a gradient of norm `norm` down to `limit`, as PyTorch's clip_grad_norm_ has it:
/// min(1, limit / (norm + 10⁻⁶)). A limit of 0 is none. NaN if the norm or one of the losses is not finite, so
/// that AdamW::step changes nothing. All of them stay on the device; norm and scale are () float64.
Tensor clip_factor(const Tensor& norm, double limit, const Tensor& losses = {});

}  // namespace ld
