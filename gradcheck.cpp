// ./gradcheck: does every op's backward compute the derivative? Finite differences against the tape, op by
// op, over the cases of the test files (tests/cases.h). `./gradcheck --curve gelu` shows how the two agree as
// the step shrinks.
#define DOCTEST_CONFIG_IMPLEMENT  // the test files are linked in; their tests are not run
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "tests/cases.h"
#include "training/command_line.h"
#include "training/key_names.h"

namespace {

using ld::OpCase;

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const OpCase& c : ld::all_cases())
    if (names.empty() || names.back() != c.op) names.push_back(c.op);
  return names;
}

std::vector<const OpCase*> cases_of(const std::string& op) {
  std::vector<const OpCase*> found;
  for (const OpCase& c : ld::all_cases())
    if (c.op == op) found.push_back(&c);
  if (!found.empty()) return found;
  const std::vector<std::string> names = op_names();
  const std::string_view near = ld::nearest(op, {names.begin(), names.end()});
  if (!near.empty())
    ld::fail("gradcheck: no op is called \"", op, "\"; did you mean ", near, "? (--list names all)");
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  ld::fail("gradcheck: no op is called \"", op, "\"; there are: ", all);
}

void list() {
  for (const std::string& op : op_names()) {
    fmt::print("{}\n", op);
    for (const OpCase* c : cases_of(op)) fmt::print("    {}\n", c->name);
  }
}

/// What ran so far; the row of one op, or the last line.
struct Total {
  int64_t cases = 0, derivatives = 0, failed = 0;
  double worst = 0;
  std::string where;

  void add(const OpCase& c, const ld::GradcheckResult& result) {
    ++cases;
    derivatives += result.probes;
    failed += !result.passed;
    worse(result.worst, c.name + ": " + result.where);
  }
  void add(const Total& other) {
    cases += other.cases;
    derivatives += other.derivatives;
    failed += other.failed;
    worse(other.worst, other.where);
  }

 private:
  void worse(double error, const std::string& place) {
    if (std::isnan(worst) || error <= worst) return;  // a NaN is the worst, and stays
    worst = error;
    where = place;
  }
};

int check_ops(const std::vector<std::string>& ops) {
  fmt::print("{:<16}{:>6}{:>13}{:>13}   {}\n", "op", "cases", "derivatives", "worst error", "where");
  Total all;
  for (const std::string& op : ops) {
    Total row;
    std::vector<std::string> failures;
    for (const OpCase* c : cases_of(op)) {
      const ld::GradcheckResult result = ld::gradcheck(c->f, c->inputs, ld::case_options());
      row.add(*c, result);
      if (!result.passed) failures.push_back("    FAILED  " + c->name + ": " + result.message);
    }
    fmt::print("{:<16}{:>6}{:>13}{:>13.1e}   {}\n", op, row.cases, row.derivatives, row.worst, row.where);
    for (const std::string& failure : failures) fmt::print("{}\n", failure);
    std::fflush(stdout);
    all.add(row);
  }
  fmt::print("{} ops, {} cases, worst relative error {:.1e}, {} failed\n", ops.size(), all.cases, all.worst,
             all.failed);
  return all.failed == 0 && all.derivatives > 0 ? 0 : 1;
}

/// The worst relative error of a case for one step of the finite difference.
double error_at(const OpCase& c, double step) {
  ld::GradcheckOptions options = ld::case_options();
  options.step = step;
  options.extrapolate = false;
  return ld::gradcheck(c.f, c.inputs, options).worst;
}

void plot(const OpCase& c) {
  constexpr double floor = -13;  // the bars begin at 10^floor
  fmt::print("{} ({}): worst relative error against the step h of the central difference\n\n", c.op, c.name);
  fmt::print("{:>8}{:>10}{:>7}\n", "h", "error", "slope");
  double previous = NAN;
  for (int exponent = 1; exponent <= 12; ++exponent) {
    const double error = error_at(c, std::pow(10, -exponent)), magnitude = std::log10(error);
    const std::string slope =
        std::isfinite(previous - magnitude) ? fmt::format("{:+.1f}", previous - magnitude) : "";
    const double length = std::isfinite(magnitude) ? 4 * (magnitude - floor) : 0;
    fmt::print("   1e-{:02}{:>10.1e}{:>7}  {}\n", exponent, error, slope,
               std::string(static_cast<size_t>(std::clamp(length, 0.0, 64.0)), '#'));
    previous = magnitude;
  }
  fmt::print(
      "\nSlope 2: the error of the difference itself, h² times a third derivative (none for an op of degree\n"
      "two or less). Slope -1: rounding, of the size of 1e-16, divided by h. ./gradcheck uses h = {:.0e}.\n",
      ld::case_options().step);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Checks the derivative of every op against finite differences in float64.", "gradcheck");
  std::vector<std::string> ops;
  std::string curve;
  bool only_list = false;
  app.add_option("--op", ops, "check only this op (may be repeated)");
  app.add_option("--curve", curve,
                 "print the error of an op's first case against the step, from 1e-1 to 1e-12");
  app.add_flag("--list", only_list, "name the ops and their cases");
  return ld::run_program(app, argc, argv, [&] {
    ld::require_device();
    if (only_list) return list(), 0;
    if (!curve.empty()) return plot(*cases_of(curve).front()), 0;
    for (const std::string& op : ops) cases_of(op);  // a wrong name ends the run before it begins
    return check_ops(ops.empty() ? op_names() : ops);
  });
}
