// The loss of a classifier: the mean over the counted rows of −log softmax(logits)[target], stable for logits
// of any size. A row whose target is negative is ignored: it adds no loss and no gradient. If all are, the
// mean is NaN, as in PyTorch; no rows at all are an error.
//   dlogits = (softmax(logits) − onehot(target)) / counted
// Of bfloat16 inputs, loss and mistakes are float32; rows are worked on in float32.
#pragma once

#include "autograd/var.h"

namespace ld {

struct CrossEntropy {
  Var loss;  // ()
  /// (): the fraction of counted rows whose most likely token is not the target; empty unless asked for.
  Tensor mistakes;
};

enum class CountMistakes : bool { no, yes };

/// logits (…, V); targets int32, one per row of logits, below V. Saves dlogits for a loss gradient of 1.
CrossEntropy cross_entropy(const Var& logits, const Tensor& targets, CountMistakes count = CountMistakes::no);

/// Rows whose logits exist together in linear_cross_entropy, of a vocabulary of V.
int64_t output_rows_at_once(int64_t V, DType dtype);

/// The output layer and the loss in one: logits = x · Wᵀ,
///   dx += dlogits · W      dW += dlogitsᵀ · x
/// With a large vocabulary the logits are the largest tensor of the model by far, so they exist only for a
/// few hundred rows at a time, and when a tape records, those rows' gradients are made on the spot, in the
/// memory of their logits, instead of computing the logits again in backward. Saves dx and dW for a loss
/// gradient of 1, dW in the accumulation type, because the rows' contributions are added to it in several
/// rounds. x (…, C); weight (V, C); targets int32, one per row of x, below V.
CrossEntropy linear_cross_entropy(const Var& x, const Var& weight, const Tensor& targets,
                                  CountMistakes count = CountMistakes::no);

}  // namespace ld
