// What tests of tensors and ops have in common: running a function with its gradients, measuring how far two
// tensors are apart, and expecting an error to say the right things.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"

namespace ld {

/// A value, and the gradients of v · value for a fixed random v.
struct Run {
  Tensor value;
  std::vector<Tensor> gradients;  // of each input; empty where nothing has reached it
};

/// Runs f and its backward. Inputs with `constant[i]` are given as constants; `times` walks the tape
/// repeatedly.
Run run(const Function& f, const std::vector<Tensor>& inputs, const std::vector<bool>& constant = {},
        int times = 1);

/// The same numbers in another dtype.
Tensor cast(const Tensor& t, DType dtype);
/// The cotangent that `run` uses: random numbers that float32 holds exactly.
Tensor cotangent_for(const Shape& shape, DType dtype);
/// Uniform numbers on [low, high), a pure function of the seed.
Tensor uniform_tensor(const Shape& shape, uint64_t seed, double low = 0, double high = 1);
/// n targets below V: every class in turn, and every `ignore`-th row not counted.
Tensor some_targets(int64_t n, int64_t V, int64_t ignore = 0);

/// max |a − b| / max |b|: the error relative to the largest element. NaN if either holds one; 0 for nothing.
double relative_difference(const std::vector<double>& a, const std::vector<double>& b);
double relative_difference(const Tensor& a, const Tensor& b);
/// CHECKs an elementwise op in float64 against `expected`, at 1025 places of [low, high).
void check_values(Var (*op)(const Var&), double (*expected)(double), double low, double high);
/// Same shape, dtype and bytes.
bool same_bits(const Tensor& a, const Tensor& b);
double dot(const std::vector<double>& a, const std::vector<double>& b);

/// The message of the Error that f throws; "nothing was thrown" if none.
std::string error_of(const std::function<void()>& f);
/// CHECKs that f throws an Error that contains every part.
void expect_error(const std::function<void()>& f, std::initializer_list<std::string> parts);
/// The same of an op that is given the wrong thing: it must also refuse before it has asked for any memory,
/// and so before any kernel has run.
void expect_refusal(const std::function<void()>& op, std::initializer_list<std::string> parts);

}  // namespace ld
