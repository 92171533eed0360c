#include "engine/uniform_line.h"

#ifdef ENGINE_CPU

#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace ld {
namespace {

#ifdef __AVX512F__

typedef uint64_t PhiloxLanes __attribute__((vector_size(64)));

/// A word of each of 16 blocks, in the lower halves of 64-bit lanes. That is where the processor's widening
/// multiplication looks for its factors, and it looks nowhere else: the upper halves hold anything. (g++ 12 makes of
/// a loop over blocks one that moves every word up and down between these halves.)
struct PhiloxWords {
  PhiloxLanes part[2];

  template <class F>
  static PhiloxWords of_parts(F f) {
    return {{f(0), f(1)}};
  }
  static PhiloxWords all(uint32_t word) {
    return of_parts([=](int) { return PhiloxLanes{} + word; });
  }
};
PhiloxWords philox_product(const PhiloxWords& a, uint32_t b) {
  return PhiloxWords::of_parts([&](int i) {
    // All lanes by a mask: _mm512_mul_epu32 makes g++ 12 warn of its own header.
    return reinterpret_cast<PhiloxLanes>(
        _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a.part[i]), _mm512_set1_epi64(b)));
  });
}
PhiloxWords philox_low(const PhiloxWords& product) { return product; }  // the upper halves hold anything
PhiloxWords philox_high(const PhiloxWords& product) {
  return PhiloxWords::of_parts([&](int i) { return product.part[i] >> 32; });
}
PhiloxWords operator^(const PhiloxWords& a, const PhiloxWords& b) {
  return PhiloxWords::of_parts([&](int i) { return a.part[i] ^ b.part[i]; });
}
PhiloxWords operator^(const PhiloxWords& a, uint32_t b) { return a ^ PhiloxWords::all(b); }

/// line[0 … 64) = the numbers of 16 blocks, from `first_block` on.
void uniform_blocks(float* line, const NoiseKey& key, int64_t sample, int64_t first_block) {
  typedef uint32_t Bits __attribute__((vector_size(64)));
  typedef float Floats __attribute__((vector_size(64), aligned(sizeof(float))));
  const PhiloxWords numbers = PhiloxWords::of_parts([=](int i) {
    return PhiloxLanes{0, 1, 2, 3, 4, 5, 6, 7} + static_cast<uint64_t>(first_block + 8 * i);
  });
  const NoisePlace at = key.here();
  const PhiloxBlock<PhiloxWords> counter = {
      {numbers, PhiloxWords::all(key.site), PhiloxWords::all(at.first_sample + static_cast<uint32_t>(sample)),
       PhiloxWords::all(at.step)}};
  const auto block = philox(counter, static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32));
  for (int64_t i = 0; i < 2; ++i) {
    auto word = [&](int w) { return block.word[w].part[i]; };
    const PhiloxLanes front = (word(0) & 0xffffffff) | word(1) << 32,
                      back = (word(2) & 0xffffffff) | word(3) << 32;
    const PhiloxLanes in_order[] = {__builtin_shuffle(front, back, PhiloxLanes{0, 8, 1, 9, 2, 10, 3, 11}),
                                    __builtin_shuffle(front, back, PhiloxLanes{4, 12, 5, 13, 6, 14, 7, 15})};
    for (int64_t half = 0; half < 2; ++half)
      reinterpret_cast<Floats&>(line[32 * i + 16 * half]) =
          __builtin_convertvector(reinterpret_cast<Bits>(in_order[half]) >> 8, Floats) * 0x1p-24f;
  }
}

#else

void uniform_blocks(float* line, const NoiseKey& key, int64_t sample, int64_t first_block) {
#pragma omp simd
  for (int64_t k = 0; k < 16; ++k) {
    const Philox4 block = key.block(sample, first_block + k);
    UNROLL for (int w = 0; w < 4; ++w) line[4 * k + w] = NoiseKey::unit(block.word[w]);
  }
}

#endif

}  // namespace

const float* uniform_line(const NoiseKey& key, int64_t sample, int64_t first, int64_t n) {
  static thread_local std::vector<float> memory;
  const int64_t begin = first / 4, blocks = (first + n + 3) / 4 - begin;
  memory.resize(static_cast<size_t>((blocks + 15) / 16 * 64));
  for (int64_t k = 0; k < blocks; k += 16) uniform_blocks(memory.data() + 4 * k, key, sample, begin + k);
  return memory.data() + first % 4;
}

}  // namespace ld

#endif
