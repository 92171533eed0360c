#include "ops/stack.h"

#include <algorithm>

#include "ops/op.h"

namespace ld {
namespace {

constexpr int64_t at_once = 64;  // what fits well into the arguments of a kernel

template <class Pointer>
struct Parts {
  Pointer of[at_once];
};

template <class T>
void stack_forward(T* y, Parts<const T*> parts, int64_t count, int64_t size) {
  for_each(count * size, [=] KERNEL(int64_t i) { y[i] = parts.of[i / size][i % size]; });
}

template <class T>
void stack_backward(Parts<Accumulator<T>> parts, const T* dy, int64_t count, int64_t size) {
  using A = acc_t<T>;
  for_each(count * size, [=] KERNEL(int64_t i) {
    const Accumulator<T> dx = parts.of[i / size];
    if (dx) dx.add(i % size, static_cast<A>(dy[i]));
  });
}

// A kernel adds to parts of which none is another one: which of the two would be first?
template <class T>
void add_to_parts(const Gradients& g, int64_t n, int64_t size) {
  Parts<Accumulator<T>> group{};
  int64_t first = 0, count = 0;
  for (int64_t k = 0; k < n; ++k) {
    const Accumulator<T> dx = g.dx<T>(static_cast<size_t>(k));
    const bool again = dx && std::any_of(group.of, group.of + count,
                                         [&](const auto& other) { return other.data == dx.data; });
    if (count == at_once || again) {
      stack_backward(group, g.dy<T>() + first * size, count, size);
      first = k;
      count = 0;
    }
    group.of[count++] = dx;
  }
  stack_backward(group, g.dy<T>() + first * size, count, size);
}

Shape stacked(int64_t parts, const Shape& shape) {
  Shape s{parts};
  for (int64_t size : shape) s.push_back(size);
  return s;
}

}  // namespace

Var stack(const std::vector<Var>& parts) {
  check(!parts.empty(), "stack: no parts given, expected at least one");
  for (const Var& part : parts) {
    check_same_dtype("stack", parts[0], part);
    check_shape("stack", "a part", part, parts[0].shape());
  }
  const int64_t n = std::ssize(parts), size = parts[0].value().elements();
  const DType dtype = parts[0].dtype();
  Tensor y(stacked(n, parts[0].shape()), dtype);
  dispatch_float("stack", dtype, [&](auto t) {
    using T = decltype(t);
    for (int64_t first = 0; first < n; first += at_once) {
      const int64_t count = std::min(at_once, n - first);
      Parts<const T*> group{};
      for (int64_t k = 0; k < count; ++k)
        group.of[k] = parts[static_cast<size_t>(first + k)].value().data<T>();
      stack_forward(y.data<T>() + first * size, group, count, size);
    }
  });
  return record("stack", parts, y, [=](const Gradients& g) {
    dispatch_float("stack", dtype, [&](auto t) {
      using T = decltype(t);
      add_to_parts<T>(g, n, size);
    });
  });
}

}  // namespace ld
