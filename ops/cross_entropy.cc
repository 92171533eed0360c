#include "ops/cross_entropy.h"

#include <type_traits>
#include <vector>

#include "engine/gemm.h"
#include "ops/op.h"

namespace ld {
namespace {

/// Where the exponentials of a row wait until their sum is known, instead of being computed twice: in the gradient's
/// place, if its elements are as wide as the sum, or in memory that the thread keeps for it, V numbers. Both are in its
/// cache. A GPU computes them faster than it reads them: null.
template <class T>
HOST_AND_KERNEL acc_t<T>* room_for_exponentials([[maybe_unused]] T* gradient, [[maybe_unused]] int64_t V) {
#ifdef ENGINE_CPU
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    return gradient;
  } else {
    static thread_local std::vector<acc_t<T>> memory;
    memory.resize(static_cast<size_t>(V));
    return memory.data();
  }
#else
  return nullptr;
#endif
}

// Per row of V logits, `width` apart, the loss (not yet divided by the count), and the gradient of the logits
// unless it is null; it may take the place of the logits.
template <class T>
void cross_entropy_rows(acc_t<T>* losses, acc_t<T>* mistakes, T* gradient, const T* logits,
                        const int32_t* targets, const acc_t<T>* inverse_count, int64_t rows, int64_t V,
                        int64_t width) {
  using A = acc_t<T>;
  for_each_row(rows, V, [=] KERNEL(int64_t r, auto row) {
    const T* l = logits + r * width;
    T* g = gradient ? gradient + r * width : nullptr;
    const int32_t target = targets[r];
    const bool counted = target >= 0;
    const A of_target = counted ? static_cast<A>(l[target]) : A(0);
    const A largest = row.max([=](int64_t j) { return static_cast<A>(l[j]); });
    if (mistakes) {  // while the logits are still there
      // The prediction is the first of the largest logits.
      const A before =
          row.sum([=](int64_t j) { return static_cast<A>(l[j]) >= of_target && j < target ? A(1) : A(0); });
      row.once([=] { mistakes[r] = counted && !(of_target >= largest && before == A(0)) ? A(1) : A(0); });
    }
    auto exponential = [=](int64_t j) { return math::exp_of_nonpositive(static_cast<A>(l[j]) - largest); };
    A* kept = g ? room_for_exponentials(g, V) : nullptr;
    const A total =
        kept ? row.sum([=](int64_t j) { return kept[j] = exponential(j); }) : row.sum(exponential);
    row.once([=] { losses[r] = counted ? math::log(total) + (largest - of_target) : A(0); });
    if (!g) return;
    const A factor = counted ? inverse_count[0] : A(0), scale = factor / total;
    auto write_gradient = [=](auto exponential_of) {
      row.each([=](int64_t j) {
        const A p = scale * exponential_of(j);
        g[j] = static_cast<T>(j == target ? p - factor : p);
      });
    };
    if (kept)
      write_gradient([=](int64_t j) { return kept[j]; });
    else
      write_gradient(exponential);
  });
}

template <class T>
void zero_columns(T* x, int64_t rows, int64_t begin, int64_t width) {
  const int64_t count = width - begin;
  for_each(rows * count, [=] KERNEL(int64_t i) { x[i / count * width + begin + i % count] = T(0); });
}

/// How many rows the weight of linear_cross_entropy is padded to, with zeros. The matrix units take bfloat16
/// in blocks of 32 columns: with 50,257 of them the library needs twice the time that it needs with 50,272. On
/// a GPU rows that begin at a multiple of 16 bytes are what its library wants in float32, too.
int64_t padded_vocabulary(int64_t V, DType dtype) {
#ifdef ENGINE_GPU
  const bool pads = dtype != DType::float64;
#else
  const bool pads = dtype == DType::bfloat16;
#endif
  return pads ? (V + 31) / 32 * 32 : V;
}

Tensor with_zero_rows(const Tensor& x, int64_t rows) {
  if (rows == x.size(0)) return x;
  Tensor result({rows, x.size(1)}, x.dtype());
  copy_on_device(result.raw(), x.raw(), static_cast<size_t>(x.bytes()));
  fill_bytes(static_cast<char*>(result.raw()) + x.bytes(), 0,
             static_cast<size_t>(result.bytes() - x.bytes()));
  return result;
}

template <class A>
void inverse_of_count(A* inverse, const int32_t* targets, int64_t n) {
  reduce_sum<A>(inverse, n, A(1), [=] KERNEL(int64_t i) { return targets[i] >= 0 ? A(1) : A(0); });
  for_each(1, [=] KERNEL(int64_t) { inverse[0] = A(1) / inverse[0]; });
}

template <class A>
void mean_of_rows(A* out, const A* values, const A* inverse_count, int64_t n) {
  reduce_sum<A>(out, n, A(1), [=] KERNEL(int64_t i) { return values[i] * inverse_count[0]; });
}

template <class T, class In>
void scaled_add(Accumulator<T> out, const In* in, const acc_t<T>* factor, int64_t n) {
  for_each(n, [=] KERNEL(int64_t i) { out.add(i, factor[0] * static_cast<acc_t<T>>(in[i])); });
}

void check_targets(const char* op, const Tensor& targets, int64_t N, int64_t V, const Shape& shape) {
  check(N > 0, op, ": the input has shape ", shape, ", which holds no rows; the mean of their losses needs ",
        "at least one");
  check(targets.dtype() == DType::int32 && targets.elements() == N, op, ": targets are ", targets.dtype(),
        " ", targets.shape(), ", expected ", N, " int32, one for each row of ", shape);
#ifndef ENGINE_CUDA  // on a GPU the data loader has checked them: reading them here would mean waiting
  for (int64_t i = 0; i < N; ++i)
    check(targets.data<int32_t>()[i] < V, op, ": target ", targets.data<int32_t>()[i], " at place ", i,
          " is not below the vocabulary size ", V);
#else
  (void)V;
#endif
}

/// Room for what is known of each row, and the means over the counted ones. A is the accumulation type.
template <class A>
class RowResults {
 public:
  RowResults(const Tensor& targets, bool count_mistakes)
      : n_(targets.elements()),
        inverse_count_(Shape{}, dtype_of<A>()),
        losses_({n_}, dtype_of<A>()),
        mistakes_(count_mistakes ? Tensor({n_}, dtype_of<A>()) : Tensor()) {
    inverse_of_count(inverse_count_.data<A>(), targets.data<int32_t>(), n_);
  }
  A* losses(int64_t row) const { return losses_.data<A>() + row; }
  A* mistakes(int64_t row) const { return mistakes_ ? mistakes_.data<A>() + row : nullptr; }
  const A* inverse_count() const { return inverse_count_.data<A>(); }
  void mean_loss(const Tensor& out) const { mean_of_rows(out.data<A>(), losses(0), inverse_count(), n_); }
  void mean_mistakes(const Tensor& out) const {
    mean_of_rows(out.data<A>(), mistakes(0), inverse_count(), n_);
  }

 private:
  int64_t n_;
  Tensor inverse_count_, losses_, mistakes_;
};

}  // namespace

int64_t output_rows_at_once([[maybe_unused]] int64_t V, [[maybe_unused]] DType dtype) {
#ifdef ENGINE_CPU
  return 400;  // fewer read and write dW too often, more leave the cache
#else
  // Half of the cache; the other half is for the weight. Whole tiles of a matrix product, at least one.
  constexpr int64_t tile = 128;
  static const int64_t bytes = second_level_cache() / 2;
  return std::max<int64_t>(1, bytes / (padded_vocabulary(V, dtype) * size_of(dtype)) / tile) * tile;
#endif
}

CrossEntropy cross_entropy(const Var& logits, const Tensor& targets, CountMistakes count) {
  check(logits.shape().rank() >= 1 && logits.size(-1) > 0, "cross_entropy: logits have shape ",
        logits.shape(), ", expected (…, V) with V > 0");
  const int64_t V = logits.size(-1), N = rows_of(logits.value());
  check_targets("cross_entropy", targets, N, V, logits.shape());
  Tensor loss, mistakes, dlogits;
  const DType dtype = logits.dtype();
  dispatch_float("cross_entropy", dtype, [&](auto t) {
    using T = decltype(t);
    using A = acc_t<T>;
    loss = Tensor(Shape{}, dtype_of<A>());
    if (count == CountMistakes::yes) mistakes = Tensor(Shape{}, dtype_of<A>());
    if (Tape::current() && logits.requires_gradient()) dlogits = Tensor::like(logits.value());
    MemoryScope scope(MemoryUse::workspace);
    RowResults<A> rows(targets, count == CountMistakes::yes);
    cross_entropy_rows(rows.losses(0), rows.mistakes(0), dlogits ? dlogits.data<T>() : nullptr,
                       static_cast<const T*>(logits.value().data<T>()), targets.data<int32_t>(),
                       rows.inverse_count(), N, V, V);
    rows.mean_loss(loss);
    if (mistakes) rows.mean_mistakes(mistakes);
  });
  Var result = record("cross_entropy", {logits}, loss, [=](const Gradients& g) {
    dispatch_float("cross_entropy", dtype, [&](auto t) {
      using T = decltype(t);
      scaled_add(g.dx<T>(0), dlogits.data<T>(), g.dy<acc_t<T>>(), dlogits.elements());
    });
  });
  return {result, mistakes};
}

CrossEntropy linear_cross_entropy(const Var& x, const Var& weight, const Tensor& targets,
                                  CountMistakes count) {
  check_same_dtype("linear_cross_entropy", x, weight);
  check(weight.shape().rank() == 2 && x.shape().rank() >= 1 && x.size(-1) == weight.size(1),
        "linear_cross_entropy: x has shape ", x.shape(), ", weight ", weight.shape(),
        ", expected (…, C) and (V, C)");
  check(weight.size(0) > 0, "linear_cross_entropy: weight has shape ", weight.shape(),
        ", expected (V, C) with V > 0");
  const int64_t V = weight.size(0), C = weight.size(1), N = rows_of(x.value());
  check_targets("linear_cross_entropy", targets, N, V, x.shape());
  const bool tape = Tape::current() != nullptr;
  const DType dtype = x.dtype();
  const int64_t width = padded_vocabulary(V, dtype);
  Tensor loss, mistakes, dx, dw;
  dispatch_float("linear_cross_entropy", dtype, [&](auto t) {
    using T = decltype(t);
    using A = acc_t<T>;
    loss = Tensor(Shape{}, dtype_of<A>());
    if (count == CountMistakes::yes) mistakes = Tensor(Shape{}, dtype_of<A>());
    if (tape && x.requires_gradient()) dx = Tensor::like(x.value());
    if (tape && weight.requires_gradient()) dw = Tensor({width, C}, dtype_of<A>());
    MemoryScope scope(MemoryUse::workspace);
    const int64_t chunk = std::min(N, output_rows_at_once(V, dtype));
    Tensor logits({chunk, width}, dtype);
    const Tensor padded = with_zero_rows(weight.value(), width);
    RowResults<A> results(targets, count == CountMistakes::yes);
    const T *xs = x.value().data<T>(), *w = padded.data<T>();
    T* l = logits.data<T>();
    for (int64_t r = 0; r < N; r += chunk) {
      const int64_t rows = std::min(chunk, N - r);
      gemm<T>(rows, width, C, {xs + r * C, C}, {w, C, Transpose::yes}, {l, true}, width);
      cross_entropy_rows<T>(results.losses(r), results.mistakes(r), dx || dw ? l : nullptr, l,
                            targets.data<int32_t>() + r, results.inverse_count(), rows, V, width);
      if (dx || dw) zero_columns(l, rows, V, width);
      if (dx) gemm<T>(rows, C, width, {l, width}, {w, C}, {dx.data<T>() + r * C, true}, C);
      if (dw)
        gemm<T, A>(width, C, rows, {l, width, Transpose::yes}, {xs + r * C, C}, {dw.data<A>(), r == 0}, C);
    }
    results.mean_loss(loss);
    if (mistakes) results.mean_mistakes(mistakes);
  });
  Var result = record("linear_cross_entropy", {x, weight}, loss, [=](const Gradients& g) {
    dispatch_float("linear_cross_entropy", dtype, [&](auto t) {
      using T = decltype(t);
      using A = acc_t<T>;
      if (g.needs(0)) scaled_add(g.dx<T>(0), dx.data<T>(), g.dy<A>(), dx.elements());
      g.with_dx<T>(1, [&](auto to) { scaled_add(to, dw.data<A>(), g.dy<A>(), V * C); });
    });
  });
  return {result, mistakes};
}

}  // namespace ld
