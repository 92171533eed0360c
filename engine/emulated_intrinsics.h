// The CUDA functions that concern one thread alone, for g++: atomics, bits, and the quick approximate functions
// (here the exact ones), as many as have been needed. The plain mathematics (expf, fmaxf, erff ...) is glibc's.
#pragma once

#include <math.h>    // not <cmath>: CUDA code calls exp(float) in the global namespace
#include <stdlib.h>  // likewise abs

#include <atomic>
#include <bit>
#include <cstdint>

// ---- Atomics: real ones, because blocks may run on several OS threads. All return the old value. ----

namespace ld::emulated {
/// Replaces *address by update(*address).
template <class T, class Update>
T atomic_update(T* address, Update update) {
  std::atomic_ref<T> value(*address);
  T old = value.load(std::memory_order_relaxed);
  while (!value.compare_exchange_weak(old, update(old), std::memory_order_relaxed)) {
  }
  return old;
}
}  // namespace ld::emulated

#define ENGINE_ATOMIC(name, T, result)                                                                      \
  inline T name(T* address, T value) {                                                                      \
    return ld::emulated::atomic_update(address,                                                             \
                                       [value]([[maybe_unused]] T old) { return static_cast<T>(result); }); \
  }
ENGINE_ATOMIC(atomicAdd, int, unsigned(old) + unsigned(value))  // wraps around, as on the device
ENGINE_ATOMIC(atomicAdd, unsigned, old + value)
ENGINE_ATOMIC(atomicAdd, unsigned long long, old + value)
ENGINE_ATOMIC(atomicAdd, float, old + value)
ENGINE_ATOMIC(atomicAdd, double, old + value)
ENGINE_ATOMIC(atomicSub, int, unsigned(old) - unsigned(value))
ENGINE_ATOMIC(atomicSub, unsigned, old - value)
ENGINE_ATOMIC(atomicMax, int, old < value ? value : old)
ENGINE_ATOMIC(atomicMax, unsigned, old < value ? value : old)
ENGINE_ATOMIC(atomicMax, long long, old < value ? value : old)
ENGINE_ATOMIC(atomicMax, unsigned long long, old < value ? value : old)
ENGINE_ATOMIC(atomicMin, int, value < old ? value : old)
ENGINE_ATOMIC(atomicMin, unsigned, value < old ? value : old)
ENGINE_ATOMIC(atomicMin, long long, value < old ? value : old)
ENGINE_ATOMIC(atomicMin, unsigned long long, value < old ? value : old)
ENGINE_ATOMIC(atomicExch, int, value)
ENGINE_ATOMIC(atomicExch, unsigned, value)
ENGINE_ATOMIC(atomicExch, unsigned long long, value)
ENGINE_ATOMIC(atomicExch, float, value)
ENGINE_ATOMIC(atomicAnd, int, old& value)
ENGINE_ATOMIC(atomicAnd, unsigned, old& value)
ENGINE_ATOMIC(atomicAnd, unsigned long long, old& value)
ENGINE_ATOMIC(atomicOr, int, old | value)
ENGINE_ATOMIC(atomicOr, unsigned, old | value)
ENGINE_ATOMIC(atomicOr, unsigned long long, old | value)
#undef ENGINE_ATOMIC

#define ENGINE_ATOMIC_CAS(T)                                                                            \
  inline T atomicCAS(T* address, T expected, T desired) {                                               \
    std::atomic_ref<T>(*address).compare_exchange_strong(expected, desired, std::memory_order_relaxed); \
    return expected;                                                                                    \
  }
ENGINE_ATOMIC_CAS(int)
ENGINE_ATOMIC_CAS(unsigned)
ENGINE_ATOMIC_CAS(unsigned short)
ENGINE_ATOMIC_CAS(unsigned long long)
#undef ENGINE_ATOMIC_CAS

// ---- Bits ---------------------------------------------------------------------------------------

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }

// ---- Mathematics --------------------------------------------------------------------------------

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

// A macro, because glibc has a private function of this name.
#define __expf expf

#define ENGINE_MIN_MAX(T)                          \
  inline T min(T x, T y) { return y < x ? y : x; } \
  inline T max(T x, T y) { return x < y ? y : x; }
ENGINE_MIN_MAX(int)
ENGINE_MIN_MAX(unsigned)
ENGINE_MIN_MAX(long)
ENGINE_MIN_MAX(unsigned long)
ENGINE_MIN_MAX(long long)
ENGINE_MIN_MAX(unsigned long long)
#undef ENGINE_MIN_MAX
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }
