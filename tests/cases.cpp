#include "tests/cases.h"

#include <algorithm>
#include <utility>

namespace ld {
namespace {

using Registry = std::vector<std::pair<std::string, CaseMaker>>;

// Inside a function: it must exist before the first static object of any test file registers with it.
Registry& registry() {
  static Registry makers;
  return makers;
}

std::vector<OpCase> make_all() {
  Registry makers = registry();
  std::sort(makers.begin(), makers.end());
  std::vector<OpCase> cases;
  for (const auto& [op, maker] : makers) {
    CaseList list(cases, op);
    maker(list);
  }
  return cases;
}

}  // namespace

bool register_cases(const char* op, CaseMaker maker) {
  registry().emplace_back(op, maker);
  return true;
}

const std::vector<OpCase>& all_cases() {
  static const std::vector<OpCase> cases = make_all();
  return cases;
}

GradcheckOptions case_options() {
  GradcheckOptions options;
#ifdef ENGINE_EMULATED
  // A CUDA thread is a fiber here. Directions see every element at less cost, and the mathematics is what the
  // CPU build proves element by element.
  options.every_element_up_to = 0;
  options.directions = 2;
#endif
  return options;
}

}  // namespace ld
