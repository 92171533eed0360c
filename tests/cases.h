// One table of op cases, used many ways: ./gradcheck prints it as a product, the tests run every case through
// finite differences, against float32, and twice for equal bits. A test file adds its op's cases like this:
//
//   OP_CASES(linear) {
//     cases.add("33x5 -> 31", [](const std::vector<Var>& in) { return linear(in[0], in[1]); },
//               {random_tensor({33, 5}, 1), random_tensor({31, 5}, 2)});
//   }
//
// and nothing else needs to know of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"

namespace ld {

/// What an op does to its numbers, which decides how closely float32 must follow float64.
enum class OpKind {
  movement,     // every result is one of the inputs
  elementwise,  // a few roundings per element
  sum,          // sums of many terms
};

struct OpCase {
  std::string op;              // "linear"
  std::string name;            // "33x5 -> 31": what is particular about this case
  Function f;                  // must compute in the dtype of its inputs: it is run in float32 too
  std::vector<Tensor> inputs;  // float64; f gets them as leaves
  OpKind kind = OpKind::sum;
  bool linear = false;  // f is linear in input 0 alone: the adjoint identity is checked too
};

/// Collects the cases of one op.
class CaseList {
 public:
  CaseList(std::vector<OpCase>& cases, std::string op) : cases_(cases), op_(std::move(op)) {}
  OpCase& add(std::string name, Function f, std::vector<Tensor> inputs) {
    cases_.push_back({op_, std::move(name), std::move(f), std::move(inputs)});
    return cases_.back();
  }

 private:
  std::vector<OpCase>& cases_;
  std::string op_;
};

/// Every case of every op, in the alphabetical order of the ops.
const std::vector<OpCase>& all_cases();

/// How every case is checked: nobody chooses a step or a tolerance of their own.
GradcheckOptions case_options();

using CaseMaker = void (*)(CaseList&);
bool register_cases(const char* op, CaseMaker maker);

#define OP_CASES(op)                                                                          \
  static void op##_cases(::ld::CaseList& cases);                                              \
  [[maybe_unused]] static const bool op##_registered = ::ld::register_cases(#op, op##_cases); \
  static void op##_cases([[maybe_unused]] ::ld::CaseList& cases)

}  // namespace ld
