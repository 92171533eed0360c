// The ops against PyTorch: tests/fixtures/op_*.fixture hold its inputs, values and gradients in float64.
#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/layernorm.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "tests/expect.h"
#include "tests/fixture.h"
#include "tests/learned_dropout_definition.h"

namespace ld {
namespace {

// Both sides compute in float64 with sums in their own order, of at most 33 terms: 1e-15, and a few roundings
// more in a chain of functions. Relative to the largest element.
constexpr double tolerance = 1e-13;

void check_close(const char* what, const std::vector<double>& ours, const std::vector<double>& theirs) {
  INFO(what);
  const double error = relative_difference(ours, theirs);
  INFO("relative error ", error);
  CHECK_FALSE(!(error <= tolerance));
}

/// Runs f on the named inputs and compares y and every gradient under the cotangent dy.
void check_fixture(const Fixture& fixture, const std::vector<std::string>& inputs, const Function& f) {
  std::vector<Var> vars;
  for (const std::string& name : inputs) vars.push_back(Var::leaf(fixture.tensor(name)));
  Tape tape;
  Var y = f(vars);
  check_close("y", y.value().to_vector(), fixture.values("y"));
  tape.backward(y, fixture.tensor("dy"));
  for (size_t i = 0; i < inputs.size(); ++i)
    check_close(("d" + inputs[i]).c_str(), vars[i].gradient().to_vector(), fixture.values("d" + inputs[i]));
}

TEST_CASE("PyTorch: gelu") {
  check_fixture(Fixture("op_gelu_exact"), {"x"}, [](const std::vector<Var>& in) { return gelu(in[0]); });
}

TEST_CASE("PyTorch: layernorm") {
  for (const char* cols : {"31", "33"}) {
    INFO(cols, " columns");
    check_fixture(Fixture(std::string("op_layernorm_") + cols), {"x", "weight"},
                  [](const std::vector<Var>& in) { return layernorm(in[0], in[1]); });
    check_fixture(Fixture(std::string("op_layernorm_") + cols + "_bias"), {"x", "weight", "bias"},
                  [](const std::vector<Var>& in) { return layernorm(in[0], in[1], in[2]); });
  }
}

// With one column the exact gradient of x and of the weight is 0, and each side has its own rounding of it.
TEST_CASE("PyTorch: layernorm of one column") {
  const Fixture fixture("op_layernorm_1_bias");
  Var x = Var::leaf(fixture.tensor("x")), w = Var::leaf(fixture.tensor("weight")),
      b = Var::leaf(fixture.tensor("bias"));
  Tape tape;
  Var y = layernorm(x, w, b);
  check_close("y", y.value().to_vector(), fixture.values("y"));
  tape.backward(y, fixture.tensor("dy"));
  check_close("dbias", b.gradient().to_vector(), fixture.values("dbias"));
  for (double dx : x.gradient().to_vector()) CHECK(std::abs(dx) < 1e-12);
  CHECK(std::abs(w.gradient().item()) < 1e-12);
}

TEST_CASE("PyTorch: attention") {
  const Fixture fixture("op_attention");
  const auto n_head = static_cast<int64_t>(fixture.value("n_head"));
  check_fixture(fixture, {"qkv"},
                [=](const std::vector<Var>& in) { return causal_attention(in[0], n_head); });
}

// The logits of the fixture go through a weight that is the unit matrix.
TEST_CASE("PyTorch: cross_entropy") {
  const Fixture fixture("op_cross_entropy");
  const int64_t V = fixture.shape("logits")[1];
  std::vector<double> unit(static_cast<size_t>(V * V), 0.0);
  for (int64_t i = 0; i < V; ++i) unit[static_cast<size_t>(i * V + i)] = 1;
  Var logits = Var::leaf(fixture.tensor("logits"));
  Tape tape;
  Var loss =
      linear_cross_entropy(logits, Tensor::from(unit, {V, V}, DType::float64), fixture.integers("targets"))
          .loss;
  check_close("loss", loss.value().to_vector(), fixture.values("loss"));
  tape.backward(loss);
  check_close("dlogits", logits.gradient().to_vector(), fixture.values("dlogits"));
}

// R of the fixture's own noise, which the fused op cannot be given: it draws its own.
Var rounded(const Fixture& fixture, const std::string& rounding, const Var& m) {
  const double k = fixture.value("sigmoid_scale");
  if (rounding == "noise_training") return round_by(less_equal(fixture.tensor("noise"), m), m);
  if (rounding == "noise_evaluation") return round_by(at_least(m, 0.5), m);
  if (rounding == "none") return m;
  Var sharpened = sigmoid(scale(add_scalar(m, -0.5), k));
  return rounding == "sigmoid_detach" ? add(m, detach(sub(sharpened, m))) : sharpened;
}

TEST_CASE("PyTorch: learned_dropout, composed of small ops") {
  for (const std::string rounding :
       {"noise_training", "noise_evaluation", "sigmoid", "sigmoid_6", "sigmoid_detach", "none"}) {
    INFO(rounding);
    const Fixture fixture("op_learned_dropout_" + rounding);
    auto mask = [](const std::vector<Var>& in) {
      return add_scalar(scale(cos(add(in[1], in[2])), 0.5), 0.5);
    };
    check_fixture(fixture, {"x", "a", "shift"}, [&](const std::vector<Var>& in) {
      return multiply(in[0], rounded(fixture, rounding, mask(in)));
    });

    std::vector<Var> in = {Var::leaf(fixture.tensor("x")), Var::leaf(fixture.tensor("a")),
                           Var::leaf(fixture.tensor("shift"))};
    Tape tape;
    Var m = mask(in), r = rounded(fixture, rounding, m);
    Var l1_squared = mean(scale(square(m), 0.5)), l1_linear = mean(abs(m));
    Var entropy = mean(neg(multiply(m, log2(add_scalar(m, 1e-9)))));
    Var loss = add(sum(multiply(multiply(in[0], r), fixture.tensor("dy"))), scale(l1_squared, 0.1));
    loss = add(add(loss, scale(l1_linear, 0.2)), scale(entropy, 0.3));
    check_close("mask", m.value().to_vector(), fixture.values("mask"));
    check_close("rounded", r.value().to_vector(), fixture.values("rounded"));
    check_close("l1_squared", l1_squared.value().to_vector(), fixture.values("l1_squared"));
    check_close("l1_linear", l1_linear.value().to_vector(), fixture.values("l1_linear"));
    check_close("entropy", entropy.value().to_vector(), fixture.values("entropy"));
    check_close("loss", loss.value().to_vector(), fixture.values("loss"));
    tape.backward(loss);
    check_close("loss.dx", in[0].gradient().to_vector(), fixture.values("loss.dx"));
    check_close("loss.da", in[1].gradient().to_vector(), fixture.values("loss.da"));
    check_close("loss.dshift", in[2].gradient().to_vector(), fixture.values("loss.dshift"));
  }
}

TEST_CASE("PyTorch: learned_dropout, the fused op") {
  struct Variant {
    std::string name;
    MaskRounding rounding;
    double sigmoid_scale;
  };
  const Variant variants[] = {{"noise_evaluation", MaskRounding::noise_and_linear, 60},
                              {"sigmoid", MaskRounding::sigmoid, 60},
                              {"sigmoid_6", MaskRounding::sigmoid, 6},
                              {"sigmoid_detach", MaskRounding::sigmoid_detach, 60},
                              {"none", MaskRounding::none, 60}};
  for (const Variant& variant : variants)
    for (L1NormPenalty penalty : {L1NormPenalty::squared, L1NormPenalty::linear}) {
      INFO(variant.name);
      const MaskOptions o{variant.rounding, false, variant.sigmoid_scale, penalty, {}};
      const Fixture fixture("op_learned_dropout_" + variant.name);
      check_fixture(fixture, {"x", "a", "shift"},
                    [&](const std::vector<Var>& in) { return learned_dropout(in[0], in[1], in[2], o).y; });
      const MaskedInput masked =
          learned_dropout(fixture.tensor("x"), fixture.tensor("a"), fixture.tensor("shift"), o);
      check_close("l1_norm", masked.l1_norm.value().to_vector(),
                  fixture.values(penalty == L1NormPenalty::linear ? "l1_linear" : "l1_squared"));
      check_close("entropy", masked.entropy.value().to_vector(), fixture.values("entropy"));
    }
}

}  // namespace
}  // namespace ld
