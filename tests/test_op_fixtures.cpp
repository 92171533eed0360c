// The ops of a transformer against PyTorch: tests/fixtures/op_*.fixture hold its inputs, values and gradients
// in float64. (The small ops: test_small_op_fixtures.cpp.)
#include <doctest/doctest.h>

#include <cmath>

#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/cross_entropy.h"
#include "ops/layernorm.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "tests/expect.h"
#include "tests/fixture.h"
#include "tests/learned_dropout_definition.h"

namespace ld {
namespace {

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

TEST_CASE("PyTorch: attention with dropout on the probabilities") {
  const Fixture fixture("op_attention_dropout");
  const auto n_head = static_cast<int64_t>(fixture.value("n_head"));
  const AttentionDropout dropout{fixture.value("rate"), fixture.noise_key()};
  check_fixture(fixture, {"qkv"},
                [=](const std::vector<Var>& in) { return causal_attention(in[0], n_head, dropout); });
}

TEST_CASE("PyTorch: softmax") {
  check_fixture(Fixture("op_softmax"), {"x"}, [](const std::vector<Var>& in) { return softmax(in[0]); });
}

TEST_CASE("PyTorch: cross_entropy of logits, with and without ignored targets") {
  const Fixture fixture("op_cross_entropy");
  for (const std::string prefix : {"", "some."}) {
    Var logits = Var::leaf(fixture.tensor("logits"));
    Tape tape;
    Var loss = cross_entropy(logits, fixture.integers(prefix + "targets")).loss;
    check_close(prefix + "loss", loss.value().to_vector(), fixture.values(prefix + "loss"));
    tape.backward(loss);
    check_close(prefix + "dlogits", logits.gradient().to_vector(), fixture.values(prefix + "dlogits"));
  }
}

TEST_CASE("PyTorch: linear_cross_entropy with ignored targets") {
  const Fixture fixture("op_cross_entropy");
  Var x = Var::leaf(fixture.tensor("linear.x")), weight = Var::leaf(fixture.tensor("linear.weight"));
  Tape tape;
  Var loss = linear_cross_entropy(x, weight, fixture.integers("some.targets")).loss;
  check_close("linear.loss", loss.value().to_vector(), fixture.values("linear.loss"));
  tape.backward(loss);
  check_close("linear.dx", x.gradient().to_vector(), fixture.values("linear.dx"));
  check_close("linear.dweight", weight.gradient().to_vector(), fixture.values("linear.dweight"));
}

// The logits of the fixture go through a weight that is the unit matrix.
TEST_CASE("PyTorch: linear_cross_entropy of logits far apart") {
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

// R of the fixture's noise, as numbers: the fused op draws the same from its key.
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
  const Variant variants[] = {{"noise_training", MaskRounding::noise_and_linear, 60},
                              {"noise_evaluation", MaskRounding::noise_and_linear, 60},
                              {"sigmoid", MaskRounding::sigmoid, 60},
                              {"sigmoid_6", MaskRounding::sigmoid, 6},
                              {"sigmoid_detach", MaskRounding::sigmoid_detach, 60},
                              {"none", MaskRounding::none, 60}};
  for (const Variant& variant : variants)
    for (L1NormPenalty penalty : {L1NormPenalty::squared, L1NormPenalty::linear}) {
      INFO(variant.name);
      const Fixture fixture("op_learned_dropout_" + variant.name);
      const MaskOptions o{.rounding = variant.rounding,
                          .stochastic = variant.name == "noise_training",
                          .sigmoid_scale = variant.sigmoid_scale,
                          .l1_norm = penalty,
                          .key = fixture.noise_key()};
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
