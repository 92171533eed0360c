#include "ops/attention.h"

#include "ops/attention_kernel.h"
#include "ops/op.h"
#ifdef ENGINE_CPU
#include "ops/attention_cpu_bfloat16.h"
#else
#include "ops/attention_gpu.h"
#endif

namespace ld {

Var causal_attention(const Var& qkv, int64_t n_head, AttentionDropout dropout) {
  check(qkv.shape().rank() == 3, "attention: qkv has shape ", qkv.shape(), ", expected (B, T, 3·C)");
  check(n_head > 0 && qkv.size(2) % (3 * n_head) == 0, "attention: qkv has shape ", qkv.shape(),
        ", whose last size is not 3 · ", n_head, " heads · head size");
  check(dropout.rate >= 0 && dropout.rate < 1, "attention: dropout rate ", dropout.rate, " is not in [0, 1)");
  const int64_t numbers = n_head * qkv.size(1) * qkv.size(1);
  check(dropout.rate == 0 || numbers <= most_noise_elements, "attention: ", n_head, " heads of ", qkv.size(1),
        " tokens draw ", numbers, " random numbers a sample for dropout, and there are ", most_noise_elements,
        " different ones");
  const int64_t B = qkv.size(0), T = qkv.size(1), C = qkv.size(2) / 3;
  const AttentionSizes sizes{B, T, n_head, C / n_head, dropout.rate, dropout.key};
  Tensor x = qkv.value(), y({B, T, C}, qkv.dtype()), log_sum;
  const bool empty = y.elements() == 0;  // the kernels are written for at least one of everything
  dispatch_float("attention", x.dtype(), [&](auto t) {
    using S = decltype(t);
    log_sum = Tensor({B, n_head, T}, dtype_of<acc_t<S>>());
    if (empty) return;
    attention_forward(y.data<S>(), log_sum.data<acc_t<S>>(), x.data<S>(), sizes);
  });
  return record("attention", {qkv}, y, [=](const Gradients& g) {
    dispatch_float("attention", x.dtype(), [&](auto t) {
      using S = decltype(t);
      const Accumulator<S> dqkv = g.dx<S>(0);
      if (empty) return;
      attention_backward(dqkv, g.dy<S>(), y.data<S>(), log_sum.data<acc_t<S>>(), x.data<S>(), sizes);
    });
  });
}

}  // namespace ld
