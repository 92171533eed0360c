#include "ops/embedding.h"

#include "ops/op.h"

namespace ld {
namespace {

template <class T>
void embedding_forward(T* y, const int32_t* ids, const T* token_table, const T* position_table, int64_t B,
                       int64_t L, int64_t C) {
  using A = acc_t<T>;
  for_each_row(B * L, C, [=] KERNEL(int64_t r, auto row) {
    const T *token = token_table + ids[r] * C, *position = position_table + r % L * C;
    row.each([=](int64_t j) {
      y[r * C + j] = static_cast<T>(static_cast<A>(token[j]) + static_cast<A>(position[j]));
    });
  });
}

template <class T, class Out>
void position_backward(Accumulator<Out> d, const T* dy, int64_t B, int64_t L, int64_t C) {
  for_each(L * C, [=] KERNEL(int64_t i) {
    acc_t<T> sum = 0;
    for (int64_t b = 0; b < B; ++b) sum += static_cast<acc_t<T>>(dy[b * L * C + i]);
    d.add(i, sum);
  });
}

// Costs a read of the ids, which on a GPU would mean waiting for it: there the data loader has checked them.
void check_ids([[maybe_unused]] const Tensor& ids, [[maybe_unused]] int64_t V) {
#ifndef ENGINE_CUDA
  const int32_t* id = ids.data<int32_t>();
  for (int64_t i = 0; i < ids.elements(); ++i)
    check(id[i] >= 0 && id[i] < V, "embedding: id ", id[i], " at place ", i, " is not in [0, ", V, ")");
#endif
}

}  // namespace

Var embedding(const Tensor& ids, const Var& token_table, const Var& position_table, int64_t first) {
  check(ids.dtype() == DType::int32 && ids.rank() == 2, "embedding: ids are ", ids.dtype(), " ", ids.shape(),
        ", expected int32 (B, T)");
  check_same_dtype("embedding", token_table, position_table);
  check(token_table.shape().rank() == 2, "embedding: token table has shape ", token_table.shape(),
        ", expected (V, C)");
  const int64_t B = ids.size(0), L = ids.size(1), V = token_table.size(0), C = token_table.size(1);
  check(first >= 0 && position_table.shape().rank() == 2 && position_table.size(0) >= first + L &&
            position_table.size(1) == C,
        "embedding: position table has shape ", position_table.shape(), ", expected (at least ", first + L,
        ", ", C, ") for ", L, " tokens from position ", first, " on");
  check_ids(ids, V);
  Tensor y({B, L, C}, token_table.dtype());
  dispatch_float("embedding", y.dtype(), [&](auto t) {
    using T = decltype(t);
    embedding_forward(y.data<T>(), ids.data<int32_t>(), token_table.value().data<T>(),
                      position_table.value().data<T>() + first * C, B, L, C);
  });
  DType dtype = y.dtype();
  return record("embedding", {token_table, position_table}, y, [=](const Gradients& g) {
    dispatch_float("embedding", dtype, [&](auto t) {
      using T = decltype(t);
      const T* dy = g.dy<T>();
      g.with_dx_zeroed<T>(0, [&](auto d) { scatter_add_rows(d, ids.data<int32_t>(), dy, B * L, C); });
      g.with_dx_zeroed<T>(1, [&](auto d) { position_backward(d.from(first * C), dy, B, L, C); });
    });
  });
}

}  // namespace ld
