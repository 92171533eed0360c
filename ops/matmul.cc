#include "ops/matmul.h"

#include "ops/op.h"

namespace ld {
namespace {

/// The matrices of one tensor, as they lie in memory.
struct Stored {
  int64_t rows, cols;
  Transpose transpose;

  Stored(const Shape& s, Transpose t) : rows(s[-2]), cols(s[-1]), transpose(t) {}
  int64_t op_rows() const { return transpose == Transpose::yes ? cols : rows; }
  int64_t op_cols() const { return transpose == Transpose::yes ? rows : cols; }
  /// op(x).
  template <class T>
  Matrix<T> op(const T* data) const {
    return {data, cols, transpose, rows * cols};
  }
};

template <class T>
Matrix<T> transposed(Matrix<T> m) {
  m.transpose = m.transpose == Transpose::yes ? Transpose::no : Transpose::yes;
  return m;
}

// d op(x) = left · right; where x lies transposed, its gradient is the transpose of that: rightᵀ · leftᵀ.
template <class T>
void operand_gradient(Accumulator<T> dx, const Stored& x, int64_t inner, Matrix<T> left, Matrix<T> right,
                      int64_t batch) {
  const bool swap = x.transpose == Transpose::yes;
  gemm<T>(x.rows, x.cols, inner, swap ? transposed(right) : left, swap ? transposed(left) : right, dx, x.cols,
          batch, x.rows * x.cols);
}

}  // namespace

Var matmul(const Var& a, const Var& b, Transpose transpose_a, Transpose transpose_b) {
  check_same_dtype("matmul", a, b);
  const int rank = a.shape().rank();
  bool match = rank >= 2 && b.shape().rank() == rank;
  for (int i = 0; match && i < rank - 2; ++i) match = a.size(i) == b.size(i);
  check(match, "matmul: a has shape ", a.shape(), ", b ", b.shape(),
        ", expected (…, M, K) and (…, K, N) with the same leading dimensions");
  const Stored sa(a.shape(), transpose_a), sb(b.shape(), transpose_b);
  auto note = [](Transpose t) { return t == Transpose::yes ? " transposed" : ""; };
  check(sa.op_cols() == sb.op_rows(), "matmul: a has shape ", a.shape(), note(transpose_a), ", b ", b.shape(),
        note(transpose_b), "; the columns of a, ", sa.op_cols(), ", must be as many as the rows of b, ",
        sb.op_rows());
  const int64_t M = sa.op_rows(), N = sb.op_cols(), K = sa.op_cols();
  Shape shape;
  int64_t batch = 1;
  for (int i = 0; i < rank - 2; ++i) {
    shape.push_back(a.size(i));
    batch *= a.size(i);
  }
  shape.push_back(M);
  shape.push_back(N);
  Tensor y(shape, a.dtype());
  dispatch_float("matmul", a.dtype(), [&](auto t) {
    using T = decltype(t);
    gemm<T>(M, N, K, sa.op(a.value().data<T>()), sb.op(b.value().data<T>()), {y.data<T>(), true}, N, batch,
            M * N);
  });
  const Tensor saved_a = b.requires_gradient() ? a.value() : Tensor();
  const Tensor saved_b = a.requires_gradient() ? b.value() : Tensor();
  const DType dtype = a.dtype();
  return record("matmul", {a, b}, y, [=](const Gradients& g) {
    dispatch_float("matmul", dtype, [&](auto t) {
      using T = decltype(t);
      const Matrix<T> dy{g.dy<T>(), N, Transpose::no, M * N};
      if (g.needs(0)) operand_gradient(g.dx<T>(0), sa, N, dy, transposed(sb.op(saved_b.data<T>())), batch);
      if (g.needs(1)) operand_gradient(g.dx<T>(1), sb, M, transposed(sa.op(saved_a.data<T>())), dy, batch);
    });
  });
}

}  // namespace ld
