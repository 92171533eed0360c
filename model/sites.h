// Every place that draws random numbers has a site of its own, so no two share noise (engine/random.h).
#pragma once

#include <cstdint>

namespace ld::sites {

inline constexpr uint32_t embedding_dropout = 0, embedding_mask = 1;
/// The sites of block `layer`. The masks are those of LearnedDropout in the place of the same name.
enum Block : uint32_t {
  attention_probabilities,
  attention_output,
  feed_forward,
  feed_forward_mask,
  attention_output_mask,
  attention_probabilities_mask,
};
inline uint32_t block(int64_t layer, Block place) { return 16 + 8 * static_cast<uint32_t>(layer) + place; }

// Outside the model.
inline constexpr uint32_t initial_weights = 0x80000000u, train_batches = 0x80000001u,
                          train_estimate = 0x80000002u, val_estimate = 0x80000003u, next_token = 0x80000004u;

}  // namespace ld::sites
