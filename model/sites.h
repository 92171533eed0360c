// Every place that draws random numbers has a site of its own, so no two share noise (engine/random.h).
#pragma once

#include <cstdint>

namespace ld::sites {

inline constexpr uint32_t embedding_dropout = 0;
/// The sites of block `layer`.
enum Block : uint32_t {
  attention_probabilities,
  attention_output,
  feed_forward,
  learned_mask,
};
inline uint32_t block(int64_t layer, Block place) { return 16 + 8 * static_cast<uint32_t>(layer) + place; }

// Outside the model.
inline constexpr uint32_t initial_weights = 0x80000000u, train_batches = 0x80000001u,
                          train_estimate = 0x80000002u, val_estimate = 0x80000003u;

}  // namespace ld::sites
