#include "engine/gemm.h"

#include <algorithm>

#if defined(ENGINE_CPU)
#include <oneapi/dnnl/dnnl.h>
#elif defined(ENGINE_CUDA)
#include <cublas_v2.h>

#include "engine/launch.h"
#endif

namespace ld {
namespace {

// The naive product, row by row of c. What every library call is tested against.
template <class T>
[[maybe_unused]] void gemm_loop(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, T* c, int64_t ldc,
                                bool store) {
  int64_t a_row = a.transpose == Transpose::yes ? 1 : a.ld, a_col = a.transpose == Transpose::yes ? a.ld : 1;
  int64_t b_row = b.transpose == Transpose::yes ? 1 : b.ld, b_col = b.transpose == Transpose::yes ? b.ld : 1;
#pragma omp parallel for schedule(static) if (m * n * k > 65536)
  for (int64_t i = 0; i < m; ++i) {
    T* row = c + i * ldc;
    if (store) std::fill(row, row + n, T(0));
    for (int64_t p = 0; p < k; ++p) {
      T factor = a.data[i * a_row + p * a_col];
      const T* b_line = b.data + p * b_row;
      for (int64_t j = 0; j < n; ++j) row[j] += factor * b_line[j * b_col];
    }
  }
}

#if defined(ENGINE_CPU)

void gemm_one(int64_t m, int64_t n, int64_t k, Matrix<float> a, Matrix<float> b, float* c, int64_t ldc,
              bool store) {
  if (k == 0) return gemm_loop(m, n, k, a, b, c, ldc, store);  // oneDNN would leave c as it is
  char ta = a.transpose == Transpose::yes ? 'T' : 'N', tb = b.transpose == Transpose::yes ? 'T' : 'N';
  auto status = dnnl_sgemm(ta, tb, m, n, k, 1.0f, a.data, a.ld, b.data, b.ld, store ? 0.0f : 1.0f, c, ldc);
  check(status == dnnl_success, "gemm: oneDNN refused (", m, ", ", n, ", ", k, ") with status ", status);
}
void gemm_one(int64_t m, int64_t n, int64_t k, Matrix<double> a, Matrix<double> b, double* c, int64_t ldc,
              bool store) {
  gemm_loop(m, n, k, a, b, c, ldc, store);
}

#elif defined(ENGINE_CUDA)

cublasHandle_t cublas() {
  static cublasHandle_t handle = [] {
    cublasHandle_t h;
    check(cublasCreate(&h) == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS could not start");
    check(cublasSetStream(h, engine_stream()) == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS refused the stream");
    return h;
  }();
  return handle;
}

// cuBLAS is column-major: the row-major product C = A·B is computed as Cᵀ = Bᵀ·Aᵀ by swapping the operands.
template <class T>
void gemm_cublas(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, T* c, int64_t ldc, bool store,
                 int64_t batch, int64_t stride_c) {
  auto op = [](Transpose t) { return t == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N; };
  constexpr bool is_double = std::is_same_v<T, double>;
  constexpr auto type = is_double ? CUDA_R_64F : CUDA_R_32F;
  constexpr auto compute = is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
  T one = 1, beta = store ? T(0) : T(1);
  auto status = cublasGemmStridedBatchedEx(
      cublas(), op(b.transpose), op(a.transpose), static_cast<int>(n), static_cast<int>(m),
      static_cast<int>(k), &one, b.data, type, static_cast<int>(b.ld), b.stride, a.data, type,
      static_cast<int>(a.ld), a.stride, &beta, c, type, static_cast<int>(ldc), stride_c,
      static_cast<int>(batch), compute, CUBLAS_GEMM_DEFAULT);
  check(status == CUBLAS_STATUS_SUCCESS, "gemm: cuBLAS refused (", m, ", ", n, ", ", k, ") x ", batch, ": ",
        cublasGetStatusString(status));
}

#endif

}  // namespace

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Accumulator<T> c, int64_t ldc,
          int64_t batch, int64_t stride_c) {
  if (m == 0 || n == 0 || batch == 0) return;
#if defined(ENGINE_CUDA)
  gemm_cublas(m, n, k, a, b, c.data, ldc, c.empty, batch, stride_c);
#else
  for (int64_t i = 0; i < batch; ++i) {
    Matrix<T> ai = a, bi = b;
    ai.data += i * a.stride;
    bi.data += i * b.stride;
#if defined(ENGINE_CPU)
    gemm_one(m, n, k, ai, bi, c.data + i * stride_c, ldc, c.empty);
#else
    gemm_loop(m, n, k, ai, bi, c.data + i * stride_c, ldc, c.empty);
#endif
  }
#endif
}

template void gemm<float>(int64_t, int64_t, int64_t, Matrix<float>, Matrix<float>, Accumulator<float>,
                          int64_t, int64_t, int64_t);
template void gemm<double>(int64_t, int64_t, int64_t, Matrix<double>, Matrix<double>, Accumulator<double>,
                           int64_t, int64_t, int64_t);

}  // namespace ld
