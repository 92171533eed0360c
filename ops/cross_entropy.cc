#include "ops/cross_entropy.h"

#include "engine/gemm.h"
#include "ops/op.h"

namespace ld {
namespace {

#ifdef ENGINE_CPU
constexpr int64_t rows_per_chunk = 400;  // fewer re-read the weight gradient too often, more leave the cache
#else
constexpr int64_t rows_per_chunk = 2048;
#endif

// Per row the loss (not yet divided by the count), and in place of the logits their gradient if wanted.
template <class T>
void cross_entropy_rows(T* logits, acc_t<T>* losses, acc_t<T>* mistakes, const int32_t* targets,
                        const acc_t<T>* inverse_count, bool gradient, int64_t rows, int64_t V) {
  using A = acc_t<T>;
  for_each_row(rows, V, [=] KERNEL(int64_t r, auto row) {
    T* l = logits + r * V;
    const int32_t target = targets[r];
    const bool counted = target >= 0;
    const A of_target = counted ? static_cast<A>(l[target]) : A(0);
    const A largest = row.max([=](int64_t j) { return static_cast<A>(l[j]); });
    const A total = row.sum([=](int64_t j) { return math::exp(static_cast<A>(l[j]) - largest); });
    if (mistakes) {
      // The prediction is the first of the largest logits.
      const A before = row.sum([=](int64_t j) { return static_cast<A>(l[j]) >= of_target && j < target ? A(1) : A(0); });
      row.once([=] { mistakes[r] = counted && (of_target < largest || before > A(0)) ? A(1) : A(0); });
    }
    row.once([=] { losses[r] = counted ? math::log(total) + largest - of_target : A(0); });
    if (gradient) {
      const A factor = counted ? inverse_count[0] : A(0);
      const A scale = factor / total;
      row.each([=](int64_t j) {
        A p = scale * math::exp(static_cast<A>(l[j]) - largest);
        l[j] = static_cast<T>(j == target ? p - factor : p);
      });
    }
  });
}

template <class A>
void inverse_of_count(A* inverse, const int32_t* targets, int64_t n) {
  reduce_sum<A>(inverse, n, A(1), [=] KERNEL(int64_t i) { return targets[i] >= 0 ? A(1) : A(0); });
  for_each(1, [=] KERNEL(int64_t) { inverse[0] = A(1) / inverse[0]; });
}

template <class T>
void mean_of_rows(T* out, const acc_t<T>* values, const acc_t<T>* inverse_count, int64_t n) {
  reduce_sum<T>(out, n, acc_t<T>(1), [=] KERNEL(int64_t i) { return values[i] * inverse_count[0]; });
}

template <class T>
void scaled_add(Accumulator<T> out, const T* in, const T* factor, int64_t n) {
  using A = acc_t<T>;
  for_each(n, [=] KERNEL(int64_t i) { out.add(i, static_cast<A>(factor[0]) * static_cast<A>(in[i])); });
}

}  // namespace

CrossEntropy linear_cross_entropy(const Var& x, const Var& weight, const Tensor& targets, CountMistakes count) {
  check_same_dtype("cross_entropy", x, weight);
  check(weight.shape().rank() == 2 && x.shape().rank() >= 1 && x.size(-1) == weight.size(1), "cross_entropy: x has shape ",
        x.shape(), ", weight ", weight.shape(), ", expected (…, C) and (V, C)");
  const int64_t V = weight.size(0), C = weight.size(1), N = rows_of(x.value());
  check(targets.dtype() == DType::int32 && targets.elements() == N, "cross_entropy: targets are ", targets.dtype(), " ",
        targets.shape(), ", expected ", N, " int32, one for each row of x ", x.shape());
#ifndef ENGINE_CUDA  // on a GPU the data loader has checked them: reading them here would mean waiting
  for (int64_t i = 0; i < N; ++i)
    check(targets.data<int32_t>()[i] < V, "cross_entropy: target ", targets.data<int32_t>()[i], " at place ", i,
          " is not below the vocabulary size ", V);
#endif
  const bool tape = Tape::current() != nullptr;
  Tensor loss(Shape{}, x.dtype()), mistakes, dx, dw;
  if (tape && x.requires_gradient()) dx = Tensor::like(x.value());
  if (tape && weight.requires_gradient()) dw = Tensor::like(weight.value());
  if (count == CountMistakes::yes) mistakes = Tensor(Shape{}, x.dtype());

  dispatch_float("cross_entropy", x.dtype(), [&](auto t) {
    using T = decltype(t);
    using A = acc_t<T>;
    MemoryScope scope(MemoryUse::workspace);
    const int64_t chunk = std::min(N, rows_per_chunk);
    Tensor logits({chunk, V}, x.dtype()), losses({N}, dtype_of<A>()), inverse(Shape{}, dtype_of<A>()), wrong;
    if (mistakes) wrong = Tensor({N}, dtype_of<A>());
    inverse_of_count(inverse.data<A>(), targets.data<int32_t>(), N);
    const T *xs = x.value().data<T>(), *w = weight.value().data<T>();
    T* l = logits.data<T>();
    for (int64_t r = 0; r < N; r += chunk) {
      const int64_t rows = std::min(chunk, N - r);
      gemm<T>(rows, V, C, {xs + r * C, C}, {w, C, Transpose::yes}, {l, true}, V);
      cross_entropy_rows(l, losses.data<A>() + r, mistakes ? wrong.data<A>() + r : nullptr,
                         targets.data<int32_t>() + r, inverse.data<A>(), dx || dw, rows, V);
      if (dx) gemm<T>(rows, C, V, {l, V}, {w, C}, {dx.data<T>() + r * C, true}, C);
      if (dw) gemm<T>(V, C, rows, {l, V, Transpose::yes}, {xs + r * C, C}, {dw.data<T>(), r == 0}, C);
    }
    mean_of_rows(loss.data<T>(), losses.data<A>(), inverse.data<A>(), N);
    if (mistakes) mean_of_rows(mistakes.data<T>(), wrong.data<A>(), inverse.data<A>(), N);
  });
  DType dtype = x.dtype();
  Var result = record("cross_entropy", {x, weight}, loss, [=](const Gradients& g) {
    dispatch_float("cross_entropy", dtype, [&](auto t) {
      using T = decltype(t);
      if (g.needs(0)) scaled_add(g.dx<T>(0), dx.data<T>(), g.dy<T>(), dx.elements());
      if (g.needs(1)) scaled_add(g.dx<T>(1), dw.data<T>(), g.dy<T>(), dw.elements());
    });
  });
  return {result, mistakes};
}

}  // namespace ld
