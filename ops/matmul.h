// Products of matrices, one for each place in the leading dimensions: y (…, M, N) = op(a) (…, M, K) · op(b)
// (…, K, N), op being the transpose of the last two dimensions where asked for.
//   d op(a) += dy · op(b)ᵀ      d op(b) += op(a)ᵀ · dy
// each laid down transposed where its operand is. Saves a if b needs a gradient, b if a does. A matrix that
// is shared by all places is a job for linear(), one large product instead of many small ones.
#pragma once

#include "autograd/var.h"
#include "engine/gemm.h"

namespace ld {

/// a is (…, M, K), or (…, K, M) with Transpose::yes; b is (…, K, N), or (…, N, K); the leading dimensions are
/// the same.
Var matmul(const Var& a, const Var& b, Transpose transpose_a = Transpose::no,
           Transpose transpose_b = Transpose::no);

}  // namespace ld
