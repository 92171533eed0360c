// Elementary functions for kernel bodies, the same names for float and double on every device.
//
// On x86-64 with glibc they are declared to have SIMD versions, so that g++ vectorises a loop that calls them
// (glibc's libmvec: at most 4 ulp from the exact result; NaN and infinity behave as in the scalar functions).
// That takes no -ffast-math, which would make NaN invisible.
#pragma once

#include <cmath>

#include "engine/device.h"

#if defined(ENGINE_CPU) && defined(__x86_64__) && defined(__GLIBC__)
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

namespace ld::math {

inline constexpr double log2_e = 1.4426950408889634;  // of the derivative of log2

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

template <class T>
HOST_AND_KERNEL T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

}  // namespace ld::math
