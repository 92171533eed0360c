// Does backward compute the derivative? Finite differences against the tape, for anyone's function:
//
//   auto result = gradcheck([](const std::vector<Var>& in) { return my_op(in[0], in[1]); },
//                           {random_tensor({3, 5}, 1), random_tensor({5}, 2)});
//   if (!result.passed) std::puts(result.message.c_str());
//
// The function is run in float64. A random cotangent v makes one number s = v · f(x) of its result (never all
// ones: the derivative of a softmax's sum is zero however wrong it is). The tape gives ds/dx; central
// differences (s(x + h) − s(x − h)) / 2h give it again, element by element for small inputs, along random
// directions for large ones. What detach, comparisons and rounding hold constant is recorded in the base run
// and replayed in the perturbed ones (autograd/replay.h), so the derivative that is declared is the one
// tested.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/var.h"

namespace ld {

struct GradcheckOptions {
  double step = 1e-5;           // h = step · max(1, |x|): truncation error ~h², rounding error ~√n ε/h
  double tolerance = 1e-6;      // largest relative error
  bool extrapolate = true;      // a difference outside the tolerance is taken again, to order h⁴
  double smallest_norm = 1e-6;  // a gradient with a smaller norm counts as vanished, which is a failure
  int64_t every_element_up_to = 4096;  // larger inputs are probed along `directions` random directions
  int directions = 8;
  bool replay = true;  // false: show what a finite difference sees without it
  uint64_t seed = 1;   // of the cotangent and the directions
};

struct GradcheckResult {
  bool passed = false;
  double worst = 0;     // largest relative error; NaN if one was met
  std::string where;    // "input 1, element 7"
  std::string message;  // one line, for people
  int64_t probes = 0;   // derivatives compared
};

using Function = std::function<Var(const std::vector<Var>&)>;

/// Checks df/d input for every input (float64 tensors). Where f bends so much that the central difference
/// D(h) misses the tolerance, (4D(h/2) − D(h))/3 is taken instead (Richardson's extrapolation), whose
/// truncation error is ~h⁴: it comes closer to the true derivative, and no closer to a wrong one. An error is
/// measured relative to the larger of the two derivatives, but at least to 1 % of that input's largest: the
/// rounding noise of a finite difference does not shrink with the element.
GradcheckResult gradcheck(const Function& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options = {});

/// Normally distributed float64 numbers, a pure function of the seed.
Tensor random_tensor(const Shape& shape, uint64_t seed, double mean = 0, double deviation = 1);

}  // namespace ld
