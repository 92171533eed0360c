// Counter-based random numbers: Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011; the generator cuRAND calls PHILOX4_32_10, with the same bits). A number is a pure function of
// (seed, step, sample, site, element), so noise does not depend on threads, on how a batch is split, on
// evaluation in between or on a resume; it is never stored: backward asks for it again.
#pragma once

#include <cstdint>

#include "engine/device.h"

namespace ld {

template <class Word>
struct PhiloxBlock {
  Word word[4];
};
using Philox4 = PhiloxBlock<uint32_t>;

// A 64-bit product and its halves. (engine/uniform_line.cc has them for many words at a time.)
HOST_AND_KERNEL inline uint64_t philox_product(uint32_t a, uint32_t b) {
  return static_cast<uint64_t>(a) * b;
}
HOST_AND_KERNEL inline uint32_t philox_low(uint64_t p) { return static_cast<uint32_t>(p); }
HOST_AND_KERNEL inline uint32_t philox_high(uint64_t p) { return static_cast<uint32_t>(p >> 32); }

/// (The default is for a counter in braces, from which nothing is deduced.)
template <class Word = uint32_t>
HOST_AND_KERNEL inline PhiloxBlock<Word> philox(const PhiloxBlock<Word>& counter, uint32_t key0,
                                                uint32_t key1) {
  Word c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
  UNROLL for (int round = 0; round < 10; ++round) {
    const auto p0 = philox_product(c0, 0xD2511F53u), p1 = philox_product(c2, 0xCD9E8D57u);
    c0 = philox_high(p1) ^ c1 ^ key0;
    c2 = philox_high(p0) ^ c3 ^ key1;
    c1 = philox_low(p1);
    c3 = philox_low(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// Where a run has come to, in device memory. A CUDA graph that is launched again repeats the arguments of
/// its kernels (engine/graph.h); what must differ from launch to launch is read from here.
struct NoisePlace {
  uint32_t step, first_sample;
};

/// From this element of a sample on the numbers begin again: the counter has 32 bits, and each value gives four.
inline constexpr int64_t most_noise_elements = int64_t{1} << 34;

/// Where in a run a random number is drawn. `first_sample` is the place in the whole step's batch of the
/// first sample of the tensor at hand; element e of sample s of that tensor is drawn as (first_sample + s,
/// e).
struct NoiseKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t first_sample = 0;
  uint32_t site = 0;
  const NoisePlace* place = nullptr;  // a GPU's kernels read step and first_sample here instead

  NoiseKey at(uint32_t other_site) const { return {seed, step, first_sample, other_site, place}; }

  HOST_AND_KERNEL NoisePlace here() const {
#ifdef ENGINE_GPU
    if (place) return *place;
#endif
    return {step, first_sample};
  }
  /// The same key with `place` read once, for a kernel that draws many numbers.
  HOST_AND_KERNEL NoiseKey resolved() const {
    const NoisePlace at = here();
    return {seed, at.step, at.first_sample, site};
  }

  /// The random bits of elements 4·number to 4·number + 3.
  HOST_AND_KERNEL Philox4 block(int64_t sample, int64_t number) const {
    const NoisePlace at = here();
    return philox(
        {{static_cast<uint32_t>(number), site, at.first_sample + static_cast<uint32_t>(sample), at.step}},
        static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  }
  /// 32 random bits.
  HOST_AND_KERNEL uint32_t bits(int64_t sample, int64_t element) const {
    auto e = static_cast<uint64_t>(element);
    Philox4 block = this->block(sample, element >> 2);
    uint32_t low = e & 1 ? block.word[1] : block.word[0], high = e & 1 ? block.word[3] : block.word[2];
    return e & 2 ? high : low;
  }
  /// Uniform on [0, 1), a multiple of 2⁻²⁴ and therefore exact in float32: every dtype sees the same number.
  HOST_AND_KERNEL float uniform(int64_t sample, int64_t element) const { return unit(bits(sample, element)); }
  HOST_AND_KERNEL static float unit(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }
};

}  // namespace ld
