// Attention as its formula reads, out of small ops that are each checked on their own: the fused op must
// equal it in value and gradient.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/concat.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "tests/expect.h"

namespace ld {
namespace {

/// (T, T): 0 where token i may look at token j, −∞ elsewhere.
Tensor causal_mask(int64_t T, DType dtype) {
  std::vector<double> mask;
  for (int64_t i = 0; i < T; ++i)
    for (int64_t j = 0; j < T; ++j) mask.push_back(j <= i ? 0 : -std::numeric_limits<double>::infinity());
  return Tensor::from(mask, {T, T}, dtype);
}

/// (B, H, T, T): what the probabilities are multiplied by.
Tensor keep(int64_t B, int64_t H, int64_t T, const AttentionDropout& dropout, DType dtype) {
  std::vector<double> values;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t e = 0; e < H * T * T; ++e)
      values.push_back(dropout.key.uniform(b, e) < static_cast<float>(dropout.rate) ? 0
                                                                                    : 1 / (1 - dropout.rate));
  return Tensor::from(values, {B, H, T, T}, dtype);
}

Var composed_attention(const Var& qkv, int64_t H, const AttentionDropout& dropout) {
  const int64_t B = qkv.size(0), T = qkv.size(1), D = qkv.size(2) / 3 / H;
  std::vector<Var> parts = split_last(qkv, 3);
  for (Var& part : parts) part = split_heads(part, H);
  Var scores =
      scale(matmul(parts[0], parts[1], Transpose::no, Transpose::yes), 1 / std::sqrt(static_cast<double>(D)));
  Var p = softmax(add(scores, causal_mask(T, qkv.dtype())));
  if (dropout.rate > 0) p = multiply(p, keep(B, H, T, dropout, qkv.dtype()));
  return merge_heads(matmul(p, parts[2]));
}

void compare(int64_t B, int64_t T, int64_t H, int64_t D, double rate, DType dtype, double tolerance) {
  INFO("B ", B, " T ", T, " H ", H, " D ", D, " dropout ", rate, " ", name_of(dtype));
  const AttentionDropout dropout{rate, {5, 3, 2, 1}};
  const Tensor qkv = cast(random_tensor({B, T, 3 * H * D}, 1), dtype);
  const Run fused =
      run([&](const std::vector<Var>& in) { return causal_attention(in[0], H, dropout); }, {qkv});
  const Run composed =
      run([&](const std::vector<Var>& in) { return composed_attention(in[0], H, dropout); }, {qkv});
  CHECK_FALSE(!(relative_difference(fused.value, composed.value) <= tolerance));
  CHECK_FALSE(!(relative_difference(fused.gradients[0], composed.gradients[0]) <= tolerance));
}

TEST_CASE("attention: equal to its composition in value and gradient") {
  for (double rate : {0.0, 0.3}) {
    for (auto [T, D] : {std::pair{1, 5}, {7, 13}, {33, 16}, {9, 17}})
      compare(2, T, 3, D, rate, DType::float64, 1e-13);  // the same sums in another grouping
    compare(2, 33, 3, 16, rate, DType::float32, 1e-5);
    // The composition rounds scores and probabilities to bfloat16, the fused op only what it returns.
    compare(2, 33, 3, 16, rate, DType::bfloat16, 3e-2);
  }
}

}  // namespace
}  // namespace ld
