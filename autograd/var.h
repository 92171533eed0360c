// A Var is a value and its place in the computation: where its gradient is gathered, if anybody needs it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/accumulator.h"
#include "engine/tensor.h"

namespace ld {

/// Where the gradient of one Var is gathered. Owns its memory: a gradient never aliases another one, so
/// fan-out and f(x, x) need no special care.
struct GradientSlot {
  Shape shape;
  DType dtype;        // of the gradient: the value's, or float32 for a bfloat16 weight
  std::string name;   // of a leaf: "blocks.0.attention.qkv.weight"
  uint64_t tape = 0;  // the tape that made it; 0 for a leaf
  Tensor gradient;    // none until the first contribution

  /// Memory to add this gradient's contributions into, each element exactly once; allocated here if new.
  template <class T>
  Accumulator<T> accumulator() {
    check(dtype == dtype_of<T>(), "backward: the gradient of ", name, " is kept in ", dtype,
          ", and an op that cannot add ", dtype_of<T>(), " to it uses it; give that op convert(…) of a ",
          dtype, " leaf");
    const bool first = !gradient;
    if (first) allocate();
    return {gradient.template data<T>(), first};
  }
  /// The same memory with zeros already there, for kernels that touch only some of the elements.
  template <class T>
  Accumulator<T> zeroed() {
    if (!gradient) {
      allocate();
      gradient.fill_zero();
    }
    return accumulator<T>();
  }

 private:
  void allocate();
};

class Var {
 public:
  Var() = default;
  /// A constant: nothing behind it, no gradient.
  Var(Tensor value)
      : value_(std::move(value)) {}  // NOLINT: constants may be given wherever a Var is expected
  /// A leaf whose gradient accumulates over every backward pass until zero_gradient().
  static Var leaf(Tensor value, std::string name = "");
  /// The same with a gradient of another dtype: float32 for a bfloat16 weight, so that contributions are
  /// summed in float32.
  static Var leaf(Tensor value, std::string name, DType gradient);

  explicit operator bool() const { return static_cast<bool>(value_); }
  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  int64_t size(int i) const { return value_.size(i); }
  DType dtype() const { return value_.dtype(); }

  bool requires_gradient() const { return slot_ != nullptr; }
  /// The accumulated gradient; an empty Tensor if nothing has reached this Var.
  Tensor gradient() const { return slot_ ? slot_->gradient : Tensor(); }
  void zero_gradient() {
    if (slot_) slot_->gradient = Tensor();
  }

  const std::shared_ptr<GradientSlot>& slot() const { return slot_; }

 private:
  friend class Tape;
  Tensor value_;
  std::shared_ptr<GradientSlot> slot_;
};

}  // namespace ld
