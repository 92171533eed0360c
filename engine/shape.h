// The sizes of a tensor, outermost first. A small value type: no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "engine/error.h"

namespace ld {

class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    for (int64_t size : sizes) push_back(size);
  }

  int rank() const { return rank_; }
  /// Size of dimension i; negative i counts from the end, as in NumPy.
  int64_t operator[](int i) const {
    check(i >= -rank_ && i < rank_, "shape: dimension ", i, " of ", *this, " does not exist");
    return sizes_[static_cast<size_t>(i < 0 ? i + rank_ : i)];
  }
  /// Number of elements; 1 for a scalar. Error: more than 2⁵⁹, which no memory holds and whose bytes could overflow.
  int64_t elements() const {
    int64_t n = 1;
    bool overflow = false;
    for (int64_t size : *this) overflow |= __builtin_mul_overflow(n, size, &n);
    check(!overflow && n <= int64_t{1} << 59, "shape: ", *this, " has too many elements");
    return n;
  }
  void push_back(int64_t size) {
    check(rank_ < max_rank, "shape: more than ", max_rank, " dimensions");
    check(size >= 0, "shape: negative size ", size);
    sizes_[static_cast<size_t>(rank_++)] = size;
  }
  /// The same shape with another last dimension.
  Shape with_last(int64_t size) const {
    Shape s = *this;
    check(rank_ > 0, "shape: a scalar has no last dimension");
    s.sizes_[static_cast<size_t>(rank_ - 1)] = size;
    return s;
  }
  Shape without_last() const {
    Shape s = *this;
    check(rank_ > 0, "shape: a scalar has no last dimension");
    --s.rank_;
    return s;
  }

  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '(';
    for (int i = 0; i < s.rank_; ++i) out << (i ? ", " : "") << s.sizes_[static_cast<size_t>(i)];
    return out << ')';
  }

 private:
  std::array<int64_t, max_rank> sizes_{};
  int rank_ = 0;
};

}  // namespace ld
