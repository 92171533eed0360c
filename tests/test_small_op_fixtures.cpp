// The small ops against PyTorch. One file of tests/fixtures for each family, op_unary.fixture for the ops of
// ops/unary.h, holds many cases; noise and masks in them come from the generator that
// bench/pytorch_fixtures.py has of its own.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "ops/binary.h"
#include "ops/concat.h"
#include "ops/convert.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/slice.h"
#include "ops/stack.h"
#include "ops/unary.h"
#include "tests/expect.h"
#include "tests/fixture.h"

namespace ld {
namespace {

using Vars = std::vector<Var>;

struct Case {
  std::string name;
  std::vector<std::string> inputs;
  Function f;
};

/// Checks every case, and that the file holds no other.
void check_cases(const Fixture& fixture, const std::vector<Case>& cases) {
  std::set<std::string> left;
  for (const std::string& name : fixture.names(""))
    if (name.ends_with(".dy")) left.insert(name.substr(0, name.size() - 3));
  for (const Case& c : cases) {
    check_fixture(fixture, c.inputs, c.f, c.name + ".");
    left.erase(c.name);
  }
  for (const std::string& name : left) FAIL_CHECK("no test for the case " << name);
}

TEST_CASE("PyTorch: binary ops, every kind of broadcasting") {
  using Op = Var (*)(const Var&, const Var&);
  std::vector<Case> cases;
  for (auto [name, op] :
       {std::pair<std::string, Op>{"add", add}, {"sub", sub}, {"multiply", multiply}, {"div", div}})
    for (const char* kind :
         {"same", "vector_right", "vector_left", "block_right", "scalar_right", "scalar_left"})
      cases.push_back(
          {name + "_" + kind, {"a", "b"}, [op = op](const Vars& in) { return op(in[0], in[1]); }});
  check_cases(Fixture("op_binary"), cases);
}

TEST_CASE("PyTorch: unary ops") {
  using Op = Var (*)(const Var&);
  std::vector<Case> cases = {{"scale", {"x"}, [](const Vars& in) { return scale(in[0], -1.75); }},
                             {"add_scalar", {"x"}, [](const Vars& in) { return add_scalar(in[0], 0.375); }}};
  const std::pair<const char*, Op> functions[] = {
      {"neg", neg},   {"square", square},      {"abs", abs},   {"exp", exp},
      {"log", log},   {"log2", log2},          {"sqrt", sqrt}, {"sin", sin},
      {"cos", cos},   {"tanh", tanh},          {"relu", relu}, {"sigmoid", sigmoid},
      {"gelu", gelu}, {"gelu_tanh", gelu_tanh}};
  for (auto [name, op] : functions)
    cases.push_back({name, {"x"}, [op = op](const Vars& in) { return op(in[0]); }});
  check_cases(Fixture("op_unary"), cases);
}

TEST_CASE("PyTorch: comparisons, select, detach, noise and rounding") {
  const Fixture fixture("op_select");
  using Op = Var (*)(const Var&, const Var&);
  std::vector<Case> cases;
  const std::pair<const char*, Op> comparisons[] = {{"less", less},
                                                    {"less_equal", less_equal},
                                                    {"greater", greater},
                                                    {"greater_equal", greater_equal},
                                                    {"equal", equal}};
  for (auto [name, op] : comparisons)
    cases.push_back({name, {"a", "b"}, [op = op](const Vars& in) {
                       return select(op(in[0], in[1]), scale(in[0], 2), in[1]);
                     }});
  const NoiseKey key = fixture.noise_key();
  cases.push_back({"at_least", {"x"}, [](const Vars& in) {
                     return select(at_least(in[0], 0.5), in[0], scale(in[0], -3));
                   }});
  cases.push_back({"detach", {"x"}, [](const Vars& in) { return multiply(in[0], detach(in[0])); }});
  cases.push_back(
      {"uniform_noise", {"x"}, [=](const Vars& in) { return multiply(in[0], uniform_noise(in[0], key)); }});
  cases.push_back({"round_stochastic", {"m"}, [=](const Vars& in) {
                     return round_by(less_equal(uniform_noise(in[0], key), in[0]), in[0]);
                   }});
  cases.push_back(
      {"round_deterministic", {"m"}, [](const Vars& in) { return round_by(at_least(in[0], 0.5), in[0]); }});
  check_cases(fixture, cases);

  const Tensor noise = fixture.tensor("noise");
  CHECK(same_bits(uniform_noise(noise, key).value(), noise));
}

TEST_CASE("PyTorch: sums and means") {
  check_cases(Fixture("op_reduce"), {{"sum", {"x"}, [](const Vars& in) { return sum(in[0]); }},
                                     {"mean", {"x"}, [](const Vars& in) { return mean(in[0]); }},
                                     {"sum_last", {"x"}, [](const Vars& in) { return sum_last(in[0]); }},
                                     {"mean_last", {"x"}, [](const Vars& in) { return mean_last(in[0]); }}});
}

TEST_CASE("PyTorch: linear") {
  check_cases(
      Fixture("op_linear"),
      {{"with_bias", {"x", "weight", "bias"}, [](const Vars& in) { return linear(in[0], in[1], in[2]); }},
       {"without_bias", {"x", "weight"}, [](const Vars& in) { return linear(in[0], in[1]); }}});
}

TEST_CASE("PyTorch: matmul, every pair of transposes") {
  auto product = [](Transpose a, Transpose b) {
    return [=](const Vars& in) { return matmul(in[0], in[1], a, b); };
  };
  using enum Transpose;
  check_cases(Fixture("op_matmul"), {{"nn", {"a", "b"}, product(no, no)},
                                     {"nt", {"a", "b"}, product(no, yes)},
                                     {"tn", {"a", "b"}, product(yes, no)},
                                     {"tt", {"a", "b"}, product(yes, yes)},
                                     {"single", {"a", "b"}, product(no, no)},
                                     {"batch_of_batches", {"a", "b"}, product(no, no)}});
}

TEST_CASE("PyTorch: reshape, split_heads and merge_heads") {
  check_cases(Fixture("op_layout"),
              {{"reshape",
                {"x"},
                [](const Vars& in) {
                  return reshape(in[0], {3, 8});
                }},
               {"split_heads", {"x"}, [](const Vars& in) { return split_heads(in[0], 2); }},
               {"merge_heads", {"x"}, [](const Vars& in) { return merge_heads(in[0]); }}});
}

TEST_CASE("PyTorch: slice, concat and split_last") {
  check_cases(Fixture("op_slice"), {{"slice", {"x"}, [](const Vars& in) { return slice(in[0], 2, 3); }}});
  auto use_parts = [](const Vars& in) {
    const std::vector<Var> p = split_last(in[0], 3);
    return add(multiply(p[0], p[1]), p[2]);
  };
  check_cases(Fixture("op_concat"), {{"concat", {"a", "b", "c"}, [](const Vars& in) { return concat(in); }},
                                     {"split_last", {"x"}, use_parts}});
}

TEST_CASE("PyTorch: stack") {
  check_cases(Fixture("op_stack"), {{"matrices", {"a", "b", "c"}, [](const Vars& in) { return stack(in); }},
                                    {"mean_of_numbers", {"a", "b"}, [](const Vars& in) {
                                       return mean(stack({in[0], in[1], in[0]}));
                                     }}});
}

TEST_CASE("PyTorch: embedding, with repeated tokens and unused positions") {
  const Fixture fixture("op_embedding");
  const Tensor ids = fixture.integers("ids");
  check_cases(
      fixture,
      {{"embedding", {"token", "position"}, [=](const Vars& in) { return embedding(ids, in[0], in[1]); }}});
}

TEST_CASE("PyTorch: dropout") {
  const Fixture fixture("op_dropout");
  const double rate = fixture.value("rate");
  const NoiseKey key = fixture.noise_key();
  check_cases(fixture, {{"dropout", {"x"}, [=](const Vars& in) { return dropout(in[0], rate, key); }}});
}

TEST_CASE("PyTorch: convert") {
  auto there_and_back = [](DType dtype) {
    return [=](const Vars& in) { return convert(convert(in[0], dtype), DType::float64); };
  };
  check_cases(Fixture("op_convert"), {{"float32", {"x"}, there_and_back(DType::float32)},
                                      {"bfloat16", {"x"}, there_and_back(DType::bfloat16)}});
}

TEST_CASE("every op has been compared with PyTorch") {
  std::set<std::string> fixtures;
  for (const auto& file : std::filesystem::directory_iterator("tests/fixtures"))
    fixtures.insert(file.path().stem().string());
  for (const auto& file : std::filesystem::directory_iterator("ops")) {
    if (file.path().extension() != ".cc") continue;
    if (file.path().stem() == "cached_attention") continue;  // held equal to attention, which has one
    const std::string wanted = "op_" + file.path().stem().string();
    INFO(file.path().string(), " has no tests/fixtures/", wanted, "*.fixture");
    const auto found = fixtures.lower_bound(wanted);
    CHECK((found != fixtures.end() && found->starts_with(wanted)));
  }
}

}  // namespace
}  // namespace ld
