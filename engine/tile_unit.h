// Products of bfloat16 tiles on the CPU, for kernels that keep a tile at hand instead of calling a matrix library:
//
//     c (16, 16) float32  =  a (16, K) · b (K, 16)
//
// by AMX, the matrix unit of Intel's processors from Sapphire Rapids on. It takes two numbers at a time, so they are
// kept in words of two: a word of `a` holds neighbours in its row, a word of `b` neighbours in its column, the even one
// in the lower half. (AVX512_BF16 has the same product by vectors, on processors without AMX too; on Sapphire Rapids,
// where it was measured, it brings nothing over float32.)
#pragma once

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__)
#define LD_TILE_UNIT

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace ld {

/// Two bfloat16.
using Word = uint32_t;

/// A tile is so many rows and columns, and so many words deep.
constexpr int64_t tile = 16;

typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef Word Words __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));

/// Numbers rounded to nearest, ties to even; NaN stays NaN, below 2⁻¹²⁶ is 0.
inline Halves rounded(Floats x) { return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(x)); }

/// x · factor, rounded: what is subtracted from it is not taken into one fused multiply-add.
inline Floats rounded_product(Floats x, float factor) {
  x *= factor;
  asm("" : "+v"(x));
  return x;
}

/// The words (even[r], odd[r]), rounded like that.
inline Words rounded_pairs(Floats even, Floats odd) {
  alignas(64) static constexpr uint16_t interleaved[] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                         21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                         11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto one_after_the_other = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  return reinterpret_cast<Words>(
      _mm512_permutexvar_epi16(_mm512_load_si512(interleaved), one_after_the_other));
}

/// Tile registers have to be configured. They are while the object lives, for the thread that made it; one object at a
/// time in a thread.
class TileUnit {
 public:
  /// While one lives there is no tile unit: for tests of what is done without.
  struct Absent {
    Absent() { count += 1; }
    ~Absent() { count -= 1; }
    static inline int count = 0;
  };

  /// Linux grants the registers, which make a thread's state 8 KiB larger, to processes that ask.
  static bool available() {
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    static const bool granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    return granted && Absent::count == 0;
  }

  TileUnit() {
    struct alignas(64) Configuration {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes_a_row[16] = {64, 64, 64};
      uint8_t rows[16] = {16, 16, 16};
    };
    // Static, because g++ 12 thinks that only its first 8 bytes are read.
    static constexpr Configuration configuration;
    // What was zeroed as floats may be read as words.
    in_memory();
    _tile_loadconfig(&configuration);
  }
  ~TileUnit() { _tile_release(); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;

  /// c (16, 16) = a · b over n words. Rows of a are `lda` words apart, b is (n, 16). Both are read up to the next
  /// multiple of 16 words, where one must hold zeros and the other finite numbers. Numbers below 2⁻¹²⁶ count as 0, as
  /// factors and in the sum.
  void product(float* c, const Word* a, int64_t lda, const Word* b, int64_t n) const {
    _tile_zero(0);
    add_words(c, a, lda, b, n);
  }
  /// c += a · b.
  void add_product(float* c, const Word* a, int64_t lda, const Word* b, int64_t n) const {
    in_memory();
    _tile_loadd(0, c, 64);
    add_words(c, a, lda, b, n);
  }

 private:
  /// g++ 12 does not know that loading a tile reads memory, so what was written must be told to be there.
  static void in_memory() { asm volatile("" ::: "memory"); }

  static void add_words(float* c, const Word* a, int64_t lda, const Word* b, int64_t n) {
    in_memory();
    for (int64_t w = 0; w < n; w += tile) {
      _tile_loadd(1, a + w, lda * 4);
      _tile_loadd(2, b + w * tile, 64);
      _tile_dpbf16ps(0, 1, 2);
    }
    _tile_stored(0, c, 64);
  }
};

}  // namespace ld

#endif
