#include "engine/gemm.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#if defined(ENGINE_CPU)
#include <oneapi/dnnl/dnnl.h>

#include "engine/gemm_bfloat16.h"
#elif defined(ENGINE_CUDA)
#include <cublas_v2.h>

#include "engine/launch.h"
#include "engine/memory.h"
#else
#include "engine/emulated_cuda.h"
#endif

namespace ld {
namespace {

// The naive product, row by row of c. What every library call is tested against.
template <class T, class Out>
[[maybe_unused]] void gemm_loop(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Accumulator<Out> c,
                                int64_t ldc) {
  using A = acc_t<T>;
  int64_t a_row = a.transpose == Transpose::yes ? 1 : a.ld, a_col = a.transpose == Transpose::yes ? a.ld : 1;
  int64_t b_row = b.transpose == Transpose::yes ? 1 : b.ld, b_col = b.transpose == Transpose::yes ? b.ld : 1;
#pragma omp parallel for schedule(static) if (m * n * k > 65536)
  for (int64_t i = 0; i < m; ++i) {
    std::vector<A> sums(static_cast<size_t>(n), A(0));
    for (int64_t p = 0; p < k; ++p) {
      const A factor = static_cast<A>(a.data[i * a_row + p * a_col]);
      const T* b_line = b.data + p * b_row;
      for (int64_t j = 0; j < n; ++j)
        sums[static_cast<size_t>(j)] += factor * static_cast<A>(b_line[j * b_col]);
    }
    for (int64_t j = 0; j < n; ++j) c.add(i * ldc + j, sums[static_cast<size_t>(j)]);
  }
}

#if defined(ENGINE_CPU)

// One row times a stored (n, k): generation's product, as fast as the n·k numbers of b come from memory. A
// core reads four places of memory in turn a third faster than one place after the other, so a line of the
// loop is four rows, a quarter of b apart. Each row is a sum of its own: the bits do not depend on the
// threads.
template <class T, class Out>
void gemm_one_row(int64_t n, int64_t k, const T* a, Matrix<T> b, Accumulator<Out> c) {
  std::vector<float> wide;
  const float* x;
  if constexpr (std::is_same_v<T, float>) {
    x = a;
  } else {
    wide.assign(a, a + k);
    x = wide.data();
  }
  const int64_t lines = (n + 3) / 4;
  // Reading so many bytes takes ten microseconds, waking a thread as long, and one that spins still
  // (engine/threads.h) is there in two.
  const bool parallel = n * k * static_cast<int64_t>(sizeof(T)) > 1 << 17;
#pragma omp parallel for schedule(static) if (parallel)
  for (int64_t i = 0; i < lines; ++i) {
    auto row = [=](int64_t quarter) { return b.data + std::min(i + quarter * lines, n - 1) * b.ld; };
    const T *b0 = row(0), *b1 = row(1), *b2 = row(2), *b3 = row(3);
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t p = 0; p < k; ++p) {
      s0 += x[p] * static_cast<float>(b0[p]);
      s1 += x[p] * static_cast<float>(b1[p]);
      s2 += x[p] * static_cast<float>(b2[p]);
      s3 += x[p] * static_cast<float>(b3[p]);
    }
    const float sums[] = {s0, s1, s2, s3};
    for (int64_t quarter = 0, j = i; j < n && quarter < 4; ++quarter, j += lines) c.add(j, sums[quarter]);
  }
}

void sgemm_onednn(int64_t m, int64_t n, int64_t k, Matrix<float> a, Matrix<float> b, Accumulator<float> c,
                  int64_t ldc) {
  char ta = a.transpose == Transpose::yes ? 'T' : 'N', tb = b.transpose == Transpose::yes ? 'T' : 'N';
  auto status =
      dnnl_sgemm(ta, tb, m, n, k, 1.0f, a.data, a.ld, b.data, b.ld, c.empty ? 0.0f : 1.0f, c.data, ldc);
  check(status == dnnl_success, "gemm: oneDNN refused (", m, ", ", n, ", ", k, ") with status ", status);
}

#endif

#if defined(ENGINE_CUDA)

cublasHandle_t cublas() {
  static cublasHandle_t handle = [] {
    cublasHandle_t h;
    check(cublasCreate(&h) == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS could not start");
    // Without this cuBLAS may round partial sums of bfloat16 products to bfloat16.
    check(cublasSetMathMode(h, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION) == CUBLAS_STATUS_SUCCESS,
          "gemm: cuBLAS refused the math mode");
    check(cublasSetStream(h, engine_stream()) == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS refused the stream");
    // Its own workspace it would allocate in the middle of a step, which cannot be captured into a graph. The
    // size is what NVIDIA recommends for Hopper; it is kept for good.
    constexpr int64_t workspace_bytes = int64_t{32} << 20;
    MemoryScope scope(MemoryUse::workspace);
    static const std::shared_ptr<void> workspace = pool_allocate(workspace_bytes);
    check(cublasSetWorkspace(h, workspace.get(), workspace_bytes) == CUBLAS_STATUS_SUCCESS,
          "gemm: cuBLAS refused its workspace");
    return h;
  }();
  return handle;
}

template <class T>
constexpr cudaDataType_t cuda_type = std::is_same_v<T, double>  ? CUDA_R_64F
                                     : std::is_same_v<T, float> ? CUDA_R_32F
                                                                : CUDA_R_16BF;

// cuBLAS is column-major: the row-major product C = A·B is computed as Cᵀ = Bᵀ·Aᵀ by swapping the operands.
template <class T, class Out>
void gemm_cublas(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Accumulator<Out> c, int64_t ldc,
                 int64_t batch, int64_t stride_c) {
  auto op = [](Transpose t) { return t == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N; };
  constexpr auto compute = std::is_same_v<T, double> ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
  const acc_t<T> one = 1, beta = c.empty ? acc_t<T>(0) : acc_t<T>(1);
  auto narrow = [](int64_t size) {
    check(size <= std::numeric_limits<int>::max(), "gemm: a size of ", size,
          " is more than cuBLAS takes, 2^31 - 1");
    return static_cast<int>(size);
  };
  auto status = cublasGemmStridedBatchedEx(
      cublas(), op(b.transpose), op(a.transpose), narrow(n), narrow(m), narrow(k), &one, b.data, cuda_type<T>,
      narrow(b.ld), b.stride, a.data, cuda_type<T>, narrow(a.ld), a.stride, &beta, c.data, cuda_type<Out>,
      narrow(ldc), stride_c, narrow(batch), compute, CUBLAS_GEMM_DEFAULT);
  check(status == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS refused (", m, ", ", n, ", ", k, ") x ", batch, ": ",
        cublasGetStatusString(status));
}

#endif

// A product of nothing: C stays, or becomes zero. No library needs to be asked, and not all of them would
// answer.
template <class Out>
void gemm_of_nothing(int64_t m, int64_t n, Accumulator<Out> c, int64_t ldc, int64_t batch, int64_t stride_c) {
  if (!c.empty) return;
  for (int64_t i = 0; i < batch * m; ++i)
    fill_bytes(c.data + i / m * stride_c + i % m * ldc, 0, static_cast<size_t>(n) * sizeof(Out));
}

}  // namespace

template <class T, class Out>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Accumulator<Out> c, int64_t ldc,
          int64_t batch, int64_t stride_c) {
  if (m == 0 || n == 0 || batch == 0) return;
  if (k == 0) return gemm_of_nothing(m, n, c, ldc, batch, stride_c);
#if defined(ENGINE_CUDA)
  gemm_cublas(m, n, k, a, b, c, ldc, batch, stride_c);
#else
#if defined(ENGINE_CPU)
  if constexpr (!std::is_same_v<T, double>)
    if (m == 1 && batch == 1 && a.transpose == Transpose::no && b.transpose == Transpose::yes)
      return gemm_one_row(n, k, a.data, b, c);
  if constexpr (std::is_same_v<T, bfloat16>) return gemm_bfloat16(m, n, k, a, b, c, ldc, batch, stride_c);
#endif
  for (int64_t i = 0; i < batch; ++i) {
    Matrix<T> ai = a, bi = b;
    ai.data += i * a.stride;
    bi.data += i * b.stride;
    const Accumulator<Out> ci{c.data + i * stride_c, c.empty};
#if defined(ENGINE_CPU)
    if constexpr (std::is_same_v<T, float>)
      sgemm_onednn(m, n, k, ai, bi, ci, ldc);
    else
      gemm_loop(m, n, k, ai, bi, ci, ldc);
#else
    emulated::enqueue([=] { gemm_loop(m, n, k, ai, bi, ci, ldc); });
#endif
  }
#endif
}

#define LD_GEMM(T, Out)                                                                                  \
  template void gemm<T, Out>(int64_t, int64_t, int64_t, Matrix<T>, Matrix<T>, Accumulator<Out>, int64_t, \
                             int64_t, int64_t);
LD_GEMM(float, float)
LD_GEMM(double, double)
LD_GEMM(bfloat16, bfloat16)
LD_GEMM(bfloat16, float)
#undef LD_GEMM

}  // namespace ld
