// A tensor: contiguous row-major elements of one dtype in device memory. Copies of a Tensor share the memory.
#pragma once

#include <memory>
#include <vector>

#include "engine/dtype.h"
#include "engine/memory.h"
#include "engine/shape.h"

namespace ld {

class Tensor {
 public:
  /// No tensor; `if (t)` is false.
  Tensor() = default;
  /// Uninitialised memory.
  Tensor(const Shape& shape, DType dtype)
      : shape_(shape), dtype_(dtype), storage_(pool_allocate(shape.elements() * size_of(dtype))) {}

  static Tensor zeros(const Shape& shape, DType dtype);
  /// Elements given in row-major order, converted to dtype.
  static Tensor from(const std::vector<double>& values, const Shape& shape, DType dtype);
  static Tensor from(const std::vector<int32_t>& values, const Shape& shape);
  static Tensor scalar(double value, DType dtype) { return from(std::vector<double>{value}, Shape{}, dtype); }
  /// Same shape and dtype as another, uninitialised.
  static Tensor like(const Tensor& t) { return Tensor(t.shape(), t.dtype()); }

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t size(int i) const { return shape_[i]; }
  int rank() const { return shape_.rank(); }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const { return elements() * size_of(dtype_); }
  DType dtype() const { return dtype_; }

  /// Pointer to the elements (device memory); T must be the dtype's type.
  template <class T>
  T* data() const {
    check(dtype_of<T>() == dtype_, "tensor: holds ", dtype_, ", asked for ", dtype_of<T>());
    return static_cast<T*>(storage_.get());
  }
  void* raw() const { return storage_.get(); }

  /// The same memory under another shape with as many elements.
  Tensor reshaped(const Shape& shape) const;
  /// The elements from `first` on, as many as the shape has, in the same memory.
  Tensor part(int64_t first, const Shape& shape) const;
  Tensor clone() const;
  void copy_from(const Tensor& source);  // same shape and dtype
  /// Overwrites the elements with values from the host, converted to dtype.
  void assign(const std::vector<double>& values) const;
  void fill_zero() { fill_bytes(raw(), 0, static_cast<size_t>(bytes())); }

  /// All elements on the host, converted to double. For tests, logs and small results.
  std::vector<double> to_vector() const;
  /// The only element of a one-element tensor.
  double item() const;

 private:
  Shape shape_;
  DType dtype_ = DType::float32;
  std::shared_ptr<void> storage_;
};

}  // namespace ld
