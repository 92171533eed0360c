// What one run through the model is for.
#pragma once

#include "engine/random.h"
#include "engine/tensor.h"

namespace ld {

struct Pass {
  bool training = false;             // dropouts and mask noise on, penalties in the loss
  NoiseKey noise = {};               // its step also drives the penalty coefficients, …
  Tensor penalty_coefficients = {};  // … unless (2) of them are given here, L1 norm and entropy
  bool literal = false;     // LearnedDropout as a composition of small ops instead of the fused one (tests)
  bool decisions = false;   // also note which elements the masks of the first sample keep (mask_decisions)
  int64_t first_token = 0;  // where in its text the input begins, when it is given piece after piece
};

}  // namespace ld
