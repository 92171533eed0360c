// Which machine this build is for, and the few words a kernel body needs to be compiled for any of them.
//
// Exactly one of three macros is defined by the Makefile:
//   ENGINE_CPU       g++ with OpenMP: kernels are SIMD loops
//   ENGINE_CUDA      nvcc for the files that hold kernels, g++ for the others
//   ENGINE_EMULATED  the CUDA sources compiled by g++, each CUDA thread a fiber: for tests without a GPU
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#if defined(ENGINE_CPU) + defined(ENGINE_CUDA) + defined(ENGINE_EMULATED) != 1
#error \
    "define one of ENGINE_CPU, ENGINE_CUDA, ENGINE_EMULATED (the Makefile does: make DEVICE=cpu|cuda|emulated)"
#endif

#ifndef ENGINE_CPU
#define ENGINE_GPU  // the CUDA programming model, real or emulated
#endif

// KERNEL marks a lambda or function as a kernel body: `[=] KERNEL (int64_t i) { … }`.
#ifdef __CUDACC__
#define KERNEL __device__
#define HOST_AND_KERNEL __host__ __device__
#else
#define KERNEL
#define HOST_AND_KERNEL
#endif

// UNROLL before a loop of few turns: the loop around it can then become SIMD. (nvcc needs no telling.)
#ifdef __CUDACC__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

namespace ld {

/// "cpu", "cuda" or "emulated".
const char* device_name();
/// One line for the start of a run: processor or GPU, threads or memory.
std::string device_description();
/// Both: "cpu: Intel(R) Xeon(R) Processor, 2 threads". On another device the last bits of a result may differ.
inline std::string device_in_words() { return std::string(device_name()) + ": " + device_description(); }
/// Throws unless this build's device can be used on this machine, saying what to run instead.
void require_device();

#ifdef ENGINE_GPU
/// Bytes of the cache that all multiprocessors share.
int64_t second_level_cache();
#endif

/// Raw device memory, at a multiple of 256 bytes, or null if there is none left. Use Tensor; only the pool calls
/// these, one call at a time.
void* device_allocate(size_t bytes);
void device_free(void* memory);

void copy_to_device(void* device, const void* host, size_t bytes);
void copy_to_host(void* host, const void* device, size_t bytes);  // waits for the kernels before it
void copy_on_device(void* to, const void* from, size_t bytes);
void fill_bytes(void* device, int byte, size_t bytes);
/// Waits until every kernel launched so far has finished.
void synchronize();

}  // namespace ld
