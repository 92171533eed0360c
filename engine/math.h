// Elementary functions for kernel bodies, the same names for float and double on every device.
//
// On x86-64 with glibc 2.35 or later they are declared to have SIMD versions, so that g++ vectorises a loop that calls them
// (glibc's libmvec: at most 4 ulp from the exact result; NaN and infinity behave as in the scalar functions).
// That takes no -ffast-math, which would make NaN invisible.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "engine/device.h"

#if defined(ENGINE_CPU) && defined(__x86_64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)  // before, libmvec has no log2, tanh and erf
extern "C" {
#define LD_SIMD_FUNCTION(name)                                          \
  _Pragma("omp declare simd notinbranch") double name(double) noexcept; \
  _Pragma("omp declare simd notinbranch") float name##f(float) noexcept;
LD_SIMD_FUNCTION(exp)
LD_SIMD_FUNCTION(log)
LD_SIMD_FUNCTION(log2)
LD_SIMD_FUNCTION(cos)
LD_SIMD_FUNCTION(sin)
LD_SIMD_FUNCTION(tanh)
LD_SIMD_FUNCTION(erf)
#undef LD_SIMD_FUNCTION
}
#endif
#endif

namespace ld::math {

inline constexpr double log2_e = 1.4426950408889634;

#define LD_FUNCTION(name)                                             \
  HOST_AND_KERNEL inline float name(float x) { return ::name##f(x); } \
  HOST_AND_KERNEL inline double name(double x) { return ::name(x); }
LD_FUNCTION(exp)
LD_FUNCTION(log)
LD_FUNCTION(log2)
LD_FUNCTION(cos)
LD_FUNCTION(sin)
LD_FUNCTION(tanh)
LD_FUNCTION(erf)
LD_FUNCTION(sqrt)
#undef LD_FUNCTION

HOST_AND_KERNEL inline float abs(float x) { return ::fabsf(x); }
HOST_AND_KERNEL inline double abs(double x) { return ::fabs(x); }

/// eˣ for x ≤ 0 or NaN: what a softmax asks for. (Rounding may take x a little above 0; far above, from 88 on, the
/// result is any number.) In float on the CPU it is made here, inline and without the special cases of a library's
/// function: 2ⁿ·eʳ with n = x/ln 2 rounded and |r| ≤ ½ln 2, eʳ the polynomial of Moshier's Cephes library. At most
/// 2 ulp from the exact value; below −87, where it would no longer be a normal number, 0. Not for a loop that calls
/// a library's function as well: g++ 12 then makes no SIMD loop of it.
template <class T>
HOST_AND_KERNEL T exp_of_nonpositive(T x) {
  return exp(x);
}
#ifdef ENGINE_CPU
template <>
inline float exp_of_nonpositive(float x) {
  const float shift = 0x1.8p23f;  // adding it rounds to an integer, and leaves that in the lowest bits
  const float shifted = x * 1.44269504f + shift, n = shifted - shift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float e = r * 1.9875691500e-4f + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * r * r + r + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + (127u << 23));
  return x < -87.0f ? 0.0f : e * power;
}
#endif

/// Of the standard normal distribution at x.
template <class T>
struct StandardNormal {
  T cumulative;  // Φ(x), the probability of a value up to x
  T density;     // Φ'(x) = e^(−x²/2) / √(2π)
};
/// In float on the CPU one exponential serves both: Φ(−t) = e^(−t²/2)·E(t) for t ≥ 0, where E(t) = ½ e^(t²/2)
/// erfc(t/√2) is a polynomial up to 5 (Remez' best, errors weighted by e^(−t²/2) + 0.002) and E(5) beyond. Φ is
/// within 1.3e-7 of the exact value, where ½(1 + erf) is within 0.6e-7; but from −4 up it is also within 2e-4 of
/// itself, there the other one 2e-3, and beyond −5 it has the size of the exact one.
template <class T>
HOST_AND_KERNEL StandardNormal<T> standard_normal(T x) {
  return {T(0.5) * (T(1) + erf(x * T(0.70710678118654752))), T(0.39894228040143268) * exp(T(-0.5) * x * x)};
}
#ifdef ENGINE_CPU
template <>
inline StandardNormal<float> standard_normal(float x) {
  const float t = abs(x) < 5.0f ? abs(x) : 5.0f;
  float e = -1.88707432e-7f * t + 5.18117709e-6f;
  e = e * t - 6.35341858e-5f;
  e = e * t + 4.65362362e-4f;
  e = e * t - 2.31524557e-3f;
  e = e * t + 8.52460694e-3f;
  e = e * t - 2.49526668e-2f;
  e = e * t + 6.15868419e-2f;
  e = e * t - 1.32684678e-1f;
  e = e * t + 2.49952242e-1f;
  e = e * t - 3.98939610e-1f;
  e = e * t + 0.5f;
  const float bell = exp_of_nonpositive(-0.5f * x * x), tail = bell * e;
  return {x > 0.0f ? 1.0f - tail : tail, 0.39894228f * bell};
}
#endif

template <class T>
HOST_AND_KERNEL T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

}  // namespace ld::math
