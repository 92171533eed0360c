#include "ops/cached_attention.h"

#include "ops/attention.h"
#include "ops/op.h"

namespace ld {
namespace {

struct CacheSizes {
  int64_t n, first;  // new tokens, and the place of the first of them
  int64_t H, D, T;
};

template <class S>
void store_keys_and_values(S* keys, S* values, const S* qkv, const CacheSizes s) {
  const int64_t C = s.H * s.D;
  for_each_row(s.n * s.H, s.D, [=] KERNEL(int64_t r, auto row) {
    const int64_t i = r / s.H, h = r % s.H;
    const S *k = qkv + (i * 3 + 1) * C + h * s.D, *v = k + C;
    row.each([=](int64_t d) {
      const int64_t at = (h * s.D + d) * s.T + s.first + i;
      keys[at] = k[d];
      values[at] = v[d];
    });
  });
}

/// A team per (token, head). Member j of it works on the keys and values of token j alone, so p (n·H, T), the
/// team's row of probabilities, passes from loop to loop without waiting for anybody.
template <class S>
void attend_to_cache(S* y, acc_t<S>* p, const S* qkv, const S* keys, const S* values, const CacheSizes s) {
  using A = acc_t<S>;
  const A factor = A(1) / std::sqrt(static_cast<A>(s.D));
  const int64_t keys_of_a_head = s.D * (s.first + s.n);  // what a team reads, for the choice of threads
  for_each_row(s.n * s.H, keys_of_a_head, [=] KERNEL(int64_t r, auto row) {
    const int64_t i = r / s.H, h = r % s.H;
    const S *q = qkv + i * 3 * s.H * s.D + h * s.D, *k = keys + h * s.D * s.T, *v = values + h * s.D * s.T;
    A* pr = p + r * s.T;
    row.cols = s.first + i + 1;
    row.each([=](int64_t j) { pr[j] = 0; });
    for (int64_t d = 0; d < s.D; ++d) {
      const A qd = factor * static_cast<A>(q[d]);
      row.each([=](int64_t j) { pr[j] += qd * static_cast<A>(k[d * s.T + j]); });
    }
    const A largest = row.max([=](int64_t j) { return pr[j]; });
    row.each([=](int64_t j) { pr[j] = math::exp_of_nonpositive(pr[j] - largest); });
    const A total = row.sum([=](int64_t j) { return pr[j]; });
    for (int64_t d = 0; d < s.D; ++d) {
      const A sum = row.sum([=](int64_t j) { return pr[j] * static_cast<A>(v[d * s.T + j]); });
      row.once([=] { y[r * s.D + d] = static_cast<S>(sum / total); });
    }
  });
}

}  // namespace

KeyValueCache::KeyValueCache(int64_t n_head, int64_t head_size, int64_t context, DType dtype)
    : keys({n_head, head_size, context}, dtype), values({n_head, head_size, context}, dtype) {}

Tensor cached_attention(const Tensor& qkv, const KeyValueCache& cache, int64_t first) {
  check(cache.keys && cache.values, "cached attention: the cache is empty; make it for the model's heads");
  const int64_t H = cache.keys.size(0), D = cache.keys.size(1), T = cache.keys.size(2);
  check(qkv.rank() == 3 && qkv.size(0) == 1 && qkv.size(2) == 3 * H * D, "cached attention: qkv has shape ",
        qkv.shape(), ", expected (1, n, ", 3 * H * D, ") for a cache of ", H, " heads of size ", D);
  check(qkv.dtype() == cache.keys.dtype(), "cached attention: qkv is ", qkv.dtype(), ", the cache ",
        cache.keys.dtype(), ", expected the same");
  const int64_t n = qkv.size(1);
  check(first >= 0 && first + n <= T, "cached attention: tokens ", first, " to ", first + n,
        " do not fit a cache for ", T, " tokens; start the window again");
  const CacheSizes s{n, first, H, D, T};
  Tensor y;
  dispatch_float("cached attention", qkv.dtype(), [&](auto t) {
    using S = decltype(t);
    store_keys_and_values(cache.keys.data<S>(), cache.values.data<S>(), qkv.data<S>(), s);
    if (first == 0) {  // a text from its beginning: what training does, many rows at a time
      y = causal_attention(qkv, H).value();
      return;
    }
    y = Tensor({1, n, H * D}, qkv.dtype());
    Tensor p({n * H, T}, dtype_of<acc_t<S>>());
    attend_to_cache(y.data<S>(), p.data<acc_t<S>>(), qkv.data<S>(), cache.keys.data<S>(),
                    cache.values.data<S>(), s);
  });
  return y;
}

}  // namespace ld
