// Matrix products of a warp on tensor cores: D = A·B + C with A (16, 16), B (16, 8) in bfloat16 and C, D (16, 8)
// in float32. The matrices live in the registers of the 32 lanes, as the PTX manual lays them out for
// mma.sync.m16n8k16. With g = lane / 4 and t = lane % 4 a lane holds
//
//   A  x[0]: A[g][2t], A[g][2t+1]        x[1]: A[g+8][2t], A[g+8][2t+1]
//      x[2]: A[g][2t+8], A[g][2t+9]      x[3]: A[g+8][2t+8], A[g+8][2t+9]
//   B  x[0]: B[2t][g], B[2t+1][g]        x[1]: B[2t+8][g], B[2t+9][g]
//   C  x[0], x[1]: C[g][2t], C[g][2t+1]  x[2], x[3]: C[g+8][2t], C[g+8][2t+1]
//
// where a register of A and B packs two bfloat16, the first one in its lower half. So the four lanes of a quad
// hold a row of C, and two C side by side (16 columns) are an A, lane by lane: the result of one product is
// the left factor of the next without leaving the registers (FlashAttention-2, Dao 2023, arXiv:2307.08691).
//
// All functions are for whole warps. On the emulated device they are collectives that follow the same layout.
#pragma once

#include "engine/dtype.h"
#include "engine/launch.h"

// Fragments in an array stay in registers only if every index is known when compiling: loops over them are
// unrolled.
#ifdef __CUDACC__
#define UNROLL_FRAGMENTS _Pragma("unroll")
#else
#define UNROLL_FRAGMENTS
#endif

namespace ld {

struct FragmentA {
  uint32_t x[4];
};
struct FragmentB {
  uint32_t x[2];
};
template <class Number>
struct Fragment {
  Number x[4];
};
using FragmentC = Fragment<float>;  // other numbers lie in the same places where no tensor core is at work

__device__ inline float low_half(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
__device__ inline float high_half(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

/// Two numbers rounded to nearest even, `low` into the lower half.
__device__ inline uint32_t pack_bfloat16(float low, float high) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return static_cast<uint32_t>(bfloat16(high).bits) << 16 | bfloat16(low).bits;
#endif
}

/// 16 columns of C, rounded, as an A.
__device__ inline FragmentA as_left_factor(const FragmentC& left, const FragmentC& right) {
  return {{pack_bfloat16(left.x[0], left.x[1]), pack_bfloat16(left.x[2], left.x[3]),
           pack_bfloat16(right.x[0], right.x[1]), pack_bfloat16(right.x[2], right.x[3])}};
}

#ifndef __CUDACC__
namespace emulated {

struct MmaOperands {
  const FragmentA& a;
  const FragmentB& b;
  const FragmentC& c;
  FragmentC d;
};

inline float half_of(uint32_t pair, int half) { return half ? high_half(pair) : low_half(pair); }

/// Every lane's d from all lanes' a, b and c. A product of two bfloat16 is exact in float32; the manual leaves
/// open how the sixteen of them and c are added, here it is exact but for one rounding (almost: in double).
inline void mma(void* const* operands, uint32_t present) {
  check(present == 0xffffffffu, "mma: all 32 lanes of a warp must take part");
  auto lane = [&](int l) -> MmaOperands& { return *static_cast<MmaOperands*>(operands[l]); };
  auto a = [&](int row, int k) {
    return half_of(lane(row % 8 * 4 + k % 8 / 2).a.x[k / 8 * 2 + row / 8], k % 2);
  };
  auto b = [&](int k, int col) { return half_of(lane(col * 4 + k % 8 / 2).b.x[k / 8], k % 2); };
  for (int row = 0; row < 16; ++row)
    for (int col = 0; col < 8; ++col) {
      MmaOperands& owner = lane(row % 8 * 4 + col / 2);
      const int place = row / 8 * 2 + col % 2;
      double sum = static_cast<double>(owner.c.x[place]);
      for (int k = 0; k < 16; ++k) sum += static_cast<double>(a(row, k)) * static_cast<double>(b(k, col));
      owner.d.x[place] = static_cast<float>(sum);
    }
}

struct MatrixRow {
  const void* address;  // of 8 bfloat16
  uint32_t x[4];        // what the lane gets
};

/// ldmatrix.x4: lane 8m + r brings row r of matrix m, and gets of each matrix row g, columns 2t and 2t + 1;
/// transposed: rows 2t and 2t + 1 of column g.
template <bool transposed>
void load_matrices(void* const* operands, uint32_t present) {
  check(present == 0xffffffffu, "ldmatrix: all 32 lanes of a warp must take part");
  auto element = [&](int matrix, int row, int column) -> uint32_t {
    const auto& owner = *static_cast<const MatrixRow*>(operands[8 * matrix + row]);
    return static_cast<const uint16_t*>(owner.address)[column];
  };
  for (int lane = 0; lane < warpSize; ++lane)
    for (int m = 0; m < 4; ++m) {
      const int g = lane / 4, t = lane % 4;
      const uint32_t low = transposed ? element(m, 2 * t, g) : element(m, g, 2 * t),
                     high = transposed ? element(m, 2 * t + 1, g) : element(m, g, 2 * t + 1);
      static_cast<MatrixRow*>(operands[lane])->x[m] = high << 16 | low;
    }
}

}  // namespace emulated
#endif

/// d = a·b + c. d may be c. The asm is volatile, so that it stays where it is written: in a branch that only some
/// lanes take it would be undefined.
__device__ inline void mma_m16n8k16(FragmentC& d, const FragmentA& a, const FragmentB& b,
                                    const FragmentC& c) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%10,%11,%12,%13};"
      : "=f"(d.x[0]), "=f"(d.x[1]), "=f"(d.x[2]), "=f"(d.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]), "f"(c.x[0]),
        "f"(c.x[1]), "f"(c.x[2]), "f"(c.x[3]));
#else
  emulated::MmaOperands mine{a, b, c, {}};
  emulated::warp_collective(0xffffffffu, &mine, emulated::mma, "mma_m16n8k16", emulated::Where::current());
  d = mine.d;
#endif
}

/// Four (8, 8) matrices out of shared memory: lane 8m + r gives the address of row r of matrix m, a multiple
/// of 16 bytes. Rows that lie an odd multiple of 16 bytes apart come without bank conflicts.
template <bool transposed>
__device__ void load_matrices(uint32_t (&x)[4], const bfloat16* row) {
#ifdef __CUDACC__
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(address)
                 : "memory");
#else
  check(reinterpret_cast<uintptr_t>(row) % 16 == 0,
        "ldmatrix: a row is not at a multiple of 16 bytes; pad the rows of the shared tile to one");
  emulated::MatrixRow mine{row, {}};
  emulated::warp_collective(0xffffffffu, &mine, emulated::load_matrices<transposed>, "ldmatrix",
                            emulated::Where::current());
  for (int m = 0; m < 4; ++m) x[m] = mine.x[m];
#endif
}

/// A = rows[0..15][0..15], in shared memory, the rows `stride` elements apart.
__device__ inline FragmentA load_left_factor(const bfloat16* rows, int stride) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  FragmentA a;
  load_matrices<false>(a.x, rows + lane % 16 * stride + lane / 16 * 8);
  return a;
}

/// Two B side by side, 16 columns.
struct FragmentB2 {
  FragmentB half[2];
};

/// B[k][n] = rows[n][k]: the product is that of A with the transpose of what is stored.
__device__ inline FragmentB2 load_transposed_right_factor(const bfloat16* rows, int stride) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint32_t x[4];
  load_matrices<false>(x, rows + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
  return {{{{x[0], x[1]}}, {{x[2], x[3]}}}};
}

/// B[k][n] = rows[k][n].
__device__ inline FragmentB2 load_right_factor(const bfloat16* rows, int stride) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint32_t x[4];
  load_matrices<true>(x, rows + lane % 16 * stride + lane / 16 * 8);
  return {{{{x[0], x[1]}}, {{x[2], x[3]}}}};
}

}  // namespace ld
