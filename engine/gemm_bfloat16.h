// bfloat16 products on the CPU, by oneDNN's matmul primitive: it uses the bfloat16 instructions of the
// processor where there are some (AVX512_BF16, AMX) and emulates them where there is AVX-512 only. Below that
// oneDNN has no bfloat16, and the product is made in float32.
#pragma once

#include <omp.h>

#include <algorithm>
#include <compare>
#include <map>
#include <string_view>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "engine/gemm.h"

namespace ld {
namespace gemm_onednn {

/// All that decides which code oneDNN generates. Generating takes about a millisecond, so it is kept.
struct Product {
  int64_t m, n, k, lda, ldb, ldc, batch, stride_a, stride_b, stride_c;
  Transpose transpose_a, transpose_b;
  bool store;
  DType out;
  int threads;  // that oneDNN plans for
  auto operator<=>(const Product&) const = default;
};

struct Primitive {
  dnnl::matmul run;  // null where oneDNN has only its reference loop, or nothing
  dnnl::memory::desc a, b, c;
};

inline const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline Primitive make(const Product& p) {
  using dnnl::memory;
  using Type = memory::data_type;
  // A batch of one is two-dimensional, for which oneDNN has more to offer.
  auto describe = [&](int64_t rows, int64_t cols, int64_t ld, Transpose transpose, int64_t stride,
                      Type type) {
    const int64_t row = transpose == Transpose::yes ? 1 : ld, col = transpose == Transpose::yes ? ld : 1;
    if (p.batch == 1) return memory::desc({rows, cols}, type, memory::dims{row, col});
    return memory::desc({p.batch, rows, cols}, type, memory::dims{stride, row, col});
  };
  Primitive result;
  result.a = describe(p.m, p.k, p.lda, p.transpose_a, p.stride_a, Type::bf16);
  result.b = describe(p.k, p.n, p.ldb, p.transpose_b, p.stride_b, Type::bf16);
  result.c =
      describe(p.m, p.n, p.ldc, Transpose::no, p.stride_c, p.out == DType::float32 ? Type::f32 : Type::bf16);
  dnnl::primitive_attr attributes;
  if (!p.store) {
    dnnl::post_ops add;
    add.append_sum(1.0f);
    attributes.set_post_ops(add);
  }
  const dnnl::matmul::primitive_desc description({result.a, result.b, result.c}, attributes, cpu(), true);
  if (description && !std::string_view(description.impl_info_str()).starts_with("ref"))
    result.run = dnnl::matmul(description);
  return result;
}

/// While it lives, oneDNN finds so many threads to plan for.
class PlannedThreads {
 public:
  explicit PlannedThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~PlannedThreads() { omp_set_num_threads(before_); }
  PlannedThreads(const PlannedThreads&) = delete;
  PlannedThreads& operator=(const PlannedThreads&) = delete;

 private:
  int before_;
};

inline const Primitive& primitive_for(const Product& p) {
  static thread_local std::map<Product, Primitive> known;
  auto place = known.find(p);
  if (place == known.end()) {
    const PlannedThreads planned(p.threads);
    place = known.emplace(p, make(p)).first;
  }
  return place->second;
}

/// The numbers of one matrix as it lies in memory, in float32.
inline std::vector<float> widened(const Matrix<bfloat16>& x, int64_t rows, int64_t cols) {
  std::vector<float> result(static_cast<size_t>(rows * cols));
#pragma omp parallel for schedule(static) if (rows * cols > 65536)
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      result[static_cast<size_t>(r * cols + c)] = static_cast<float>(x.data[r * x.ld + c]);
  return result;
}

template <class Out>
void in_float32(const Product& p, const Matrix<bfloat16>& a, const Matrix<bfloat16>& b, Accumulator<Out> c) {
  const bool ta = p.transpose_a == Transpose::yes, tb = p.transpose_b == Transpose::yes;
  const int64_t a_cols = ta ? p.m : p.k, b_cols = tb ? p.k : p.n;
  const std::vector<float> wide_a = widened(a, ta ? p.k : p.m, a_cols),
                           wide_b = widened(b, tb ? p.n : p.k, b_cols);
  std::vector<float> sums(static_cast<size_t>(p.m * p.n));
  gemm<float>(p.m, p.n, p.k, {wide_a.data(), a_cols, p.transpose_a}, {wide_b.data(), b_cols, p.transpose_b},
              {sums.data(), true}, p.n);
#pragma omp parallel for schedule(static) if (p.m * p.n > 65536)
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) c.add(i * p.ldc + j, sums[static_cast<size_t>(i * p.n + j)]);
}

template <class Out>
void multiply(const Product& p, Matrix<bfloat16> a, Matrix<bfloat16> b, Accumulator<Out> c) {
  const Primitive& primitive = primitive_for(p);
  if (primitive.run) {
    auto memory = [](const dnnl::memory::desc& description, const void* data) {
      return dnnl::memory(description, cpu(), const_cast<void*>(data));
    };
    static thread_local dnnl::stream stream(cpu());
    primitive.run.execute(stream, {{DNNL_ARG_SRC, memory(primitive.a, a.data)},
                                   {DNNL_ARG_WEIGHTS, memory(primitive.b, b.data)},
                                   {DNNL_ARG_DST, memory(primitive.c, c.data)}});
    return;
  }
  for (int64_t i = 0; i < p.batch; ++i) {
    in_float32(p, a, b, c);
    a.data += a.stride;
    b.data += b.stride;
    c = c.from(p.stride_c);
  }
}

/// The first of the blocks of rows into which a product is cut, one for each thread. Rows are counted in sixteens, those
/// of a matrix unit, so the last blocks may be short or empty.
inline Product block_of_rows(const Product& p) {
  const int64_t step = int64_t{16} * p.threads;
  Product block = p;
  block.m = (p.m + step - 1) / step * 16;
  block.threads = 1;
  return block;
}

/// Whether a product is cut before oneDNN sees it. oneDNN cuts small ones badly: two blocks, each planned for one thread,
/// take 0.6 to 1.0 of the time of the whole planned for two, up to some hundred million multiplications; beyond, 1.1 to
/// 1.6 (measured with two threads on Sapphire Rapids). Every thread packs b for itself, so it must have some rows. All
/// threads take part: libgomp ends those that a smaller team leaves out, and makes new ones for the next.
inline bool goes_by_rows(const Product& p) {
  const int64_t work = p.m * p.n * p.k;
  return p.threads > 1 && p.batch == 1 && work > 1 << 20 && work <= 1 << 28 && p.m >= 32 * p.threads &&
         !omp_in_parallel() && primitive_for(block_of_rows(p)).run;
}

template <class Out>
void multiply_by_rows(const Product& p, Matrix<bfloat16> a, Matrix<bfloat16> b, Accumulator<Out> c) {
  const int64_t rows = block_of_rows(p).m;
#pragma omp parallel for schedule(static, 1)
  for (int64_t first = 0; first < p.m; first += rows) {
    Product block = block_of_rows(p);
    block.m = std::min(rows, p.m - first);
    Matrix<bfloat16> of_a = a;
    of_a.data += first * (p.transpose_a == Transpose::yes ? 1 : p.lda);
    multiply(block, of_a, b, c.from(first * p.ldc));
  }
}

}  // namespace gemm_onednn

template <class Out>
void gemm_bfloat16(int64_t m, int64_t n, int64_t k, Matrix<bfloat16> a, Matrix<bfloat16> b,
                   Accumulator<Out> c, int64_t ldc, int64_t batch, int64_t stride_c) {
  using namespace gemm_onednn;
  const Product p{m,
                  n,
                  k,
                  a.ld,
                  b.ld,
                  ldc,
                  batch,
                  a.stride,
                  b.stride,
                  stride_c,
                  a.transpose,
                  b.transpose,
                  c.empty,
                  dtype_of<Out>(),
                  omp_get_max_threads()};
  if (goes_by_rows(p))
    multiply_by_rows(p, a, b, c);
  else
    multiply(p, a, b, c);
}

}  // namespace ld
