// What one micro-batch reads and the next one finds changed: its tokens, its place in the noise, the
// coefficients of the penalties. It lies in device memory that stays where it is, so that all the rest of a
// micro-batch can be one CUDA graph (engine/graph.h); and it gets there without anybody waiting
// (engine/staging.h).
#pragma once

#include <optional>
#include <utility>

#include "engine/staging.h"
#include "model/transformer.h"
#include "training/dataset.h"

namespace ld {

class StepInputs {
 public:
  StepInputs(const Transformer& model, const TokenFile& file, int64_t batch_size);

  /// Draws the tokens of the micro-batch that begins at `noise`, ahead of its time: while the device works on
  /// the one before.
  void draw(const NoiseKey& noise);
  /// Makes that micro-batch the one at hand; its tokens are drawn now if they are not those drawn last.
  void load(const NoiseKey& noise);

  const Batch& batch() const { return batch_; }
  /// A training pass over the batch.
  const Pass& pass() const { return pass_; }

 private:
  const Transformer& model_;
  const TokenFile& file_;
  Staging tokens_;        // (2, B, T): ids and targets
  Staging place_;         // (2): a NoisePlace
  Staging coefficients_;  // (2): Pass::penalty_coefficients
  Batch batch_;
  Pass pass_;
  std::optional<std::pair<uint32_t, uint32_t>> drawn_;  // step and first sample of what tokens_ holds ready
};

}  // namespace ld
