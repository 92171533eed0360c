// The whole model against finite differences, and the fused LearnedDropout against the literal one.
#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "ops/binary.h"
#include "ops/reduce.h"
#include "tests/cases.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "training/optimizer.h"

namespace ld {
namespace {

Tensor ids() { return random_tokens(2, 5, 11, 1); }
Tensor targets() { return random_tokens(2, 5, 11, 2); }

// The loss of a model as a function of its parameters, which gradcheck can move and watch. In the base run,
// whose value is not looked at, it is Σ parameter ⊙ gradient: a plane with the gradients that the model's own
// tape has found.
Var loss_of_parameters(Transformer& model, const std::vector<size_t>& places, const std::vector<Var>& in,
                       const Pass& pass) {
  const auto& parameters = model.parameters().all();
  for (size_t i = 0; i < in.size(); ++i) {
    Tensor value = parameters[places[i]].var.value();
    value.copy_from(in[i].value());
  }
  if (!Tape::current()) return model(ids(), targets(), pass).loss;
  const ModelRun run = run_model(model, ids(), targets(), pass);
  Var plane;
  for (size_t i = 0; i < in.size(); ++i) {
    const Tensor& gradient = run.gradients[places[i]];
    if (!gradient) continue;
    Var term = sum(multiply(in[i], gradient));
    plane = plane ? add(plane, term) : term;
  }
  return plane;
}

GradcheckResult check_model(const ModelConfig& config, const Pass& pass, const GradcheckOptions& options) {
  const OneThread one_thread;
  Transformer model = lively_model(config);
  std::vector<size_t> places;
  std::vector<Tensor> values;
  for (size_t k = 0; k < model.parameters().all().size(); ++k)
    if (!is_cut_off(config, model.parameters().all()[k])) {
      places.push_back(k);
      values.push_back(model.parameters().all()[k].var.value().clone());
    }
  auto loss = [&](const std::vector<Var>& in) { return loss_of_parameters(model, places, in, pass); };
  return gradcheck(loss, values, options);
}

std::vector<ModelVariant> learned_variants() {
  std::vector<ModelVariant> variants;
  for (const ModelVariant& v : model_variants())
    if (v.config.learned_dropout_config) variants.push_back(v);
  return variants;
}

}  // namespace

TEST_CASE("model gradients: every parameter against finite differences") {
  for (const ModelVariant& v : model_variants())
    for (bool literal : {false, true}) {
      if (literal && !v.config.learned_dropout_config) continue;
      INFO(v.name, std::string(literal ? ", literal" : ", fused"));
      Pass pass = training_pass();
      pass.literal = literal;
      const GradcheckResult result = check_model(v.config, pass, case_options());
      INFO(result.message, " worst ", result.worst, " at ", result.where);
      CHECK(result.passed);
    }
}

// With replay, the derivative that straight-through rounding and detach declare; without, the true one.
TEST_CASE("model gradients: without replay, rounding and detach fail the check") {
  GradcheckOptions options = case_options();
  options.replay = false;
  options.every_element_up_to = 0;  // directions are enough to see a forbidden path,
  options.tolerance = 1e-4;         // and move all elements at once, which bends the curve more
  for (bool literal : {false, true})
    for (DropoutInput input : {DropoutInput::hidden_state, DropoutInput::embed}) {
      Pass pass = training_pass();
      pass.literal = literal;
      CHECK_FALSE(check_model(small_learned(input), pass, options).passed);
      ModelConfig smooth = small_learned(input);
      smooth.learned_dropout_config->mask_rounding_type = MaskRounding::none;
      CHECK(check_model(smooth, pass, options).passed);
      smooth.learned_dropout_config->use_detached_input = true;
      CHECK_FALSE(check_model(smooth, pass, options).passed);
    }
}

TEST_CASE("model gradients: every parameter gets one, except the weights of a detached E_dropout") {
  const OneThread one_thread;
  for (const ModelVariant& v : model_variants())
    for (bool literal : {false, true})
      for (DType dtype : {DType::float32, DType::float64}) {
        INFO(v.name, std::string(literal ? ", literal " : ", fused "), std::string(name_of(dtype)));
        Transformer model = lively_model(v.config, dtype);
        Pass pass = training_pass();
        pass.literal = literal;
        const ModelRun run = run_model(model, ids(), targets(), pass);
        for (size_t k = 0; k < run.gradients.size(); ++k) {
          const Parameter& p = model.parameters().all()[k];
          INFO(p.name);
          CHECK(static_cast<bool>(run.gradients[k]) != is_cut_off(v.config, p));
        }
      }
}

TEST_CASE("model gradients: AdamW leaves the weights of a detached E_dropout alone, decay included") {
  const ModelConfig config = small_learned(DropoutInput::embed, true);
  Transformer model = lively_model(config);
  std::vector<Tensor> before;
  for (const Parameter& p : model.parameters().all()) before.push_back(p.var.value().clone());
  AdamW optimizer(model.parameters(), {.weight_decay = 0.5});
  for (int step = 0; step < 3; ++step) {
    model.parameters().zero_gradients();
    Tape tape;
    tape.backward(model(ids(), targets(), training_pass()).loss);
    optimizer.step(0.1);
  }
  for (size_t k = 0; k < before.size(); ++k) {
    const Parameter& p = model.parameters().all()[k];
    INFO(p.name);
    CHECK(same_bits(p.var.value(), before[k]) == is_cut_off(config, p));
    CHECK(static_cast<bool>(optimizer.moments()[k].m) != is_cut_off(config, p));
    CHECK(optimizer.moments()[k].updates == (is_cut_off(config, p) ? 0 : 3));
  }
}

// float64: regrouped sums. float32: 2⁻²⁴ per rounding, through two blocks, against each tensor's largest
// element.
TEST_CASE("model gradients: the literal composition and the fused op agree in everything") {
  const OneThread one_thread;
  for (const ModelVariant& v : learned_variants())
    for (DType dtype : {DType::float64, DType::float32})
      for (bool training : {true, false}) {
        INFO(v.name, " ", std::string(name_of(dtype)), std::string(training ? ", training" : ", evaluation"));
        const double tolerance = dtype == DType::float64 ? 1e-11 : 1e-4;
        Transformer model = lively_model(v.config, dtype);
        Pass pass = training_pass();
        pass.training = training;
        const ModelRun fused = run_model(model, ids(), targets(), pass);
        pass.literal = true;
        const ModelRun literal = run_model(model, ids(), targets(), pass);
        CHECK(fused.loss == doctest::Approx(literal.loss).epsilon(tolerance));
        CHECK(fused.cross_entropy == doctest::Approx(literal.cross_entropy).epsilon(tolerance));
        const auto names = learned_dropout_names(v.config);
        REQUIRE(fused.masks.size() == names.size());
        for (size_t place = 0; place < fused.masks.size(); ++place) {
          INFO(names[place]);
          const double error = relative_difference(fused.masks[place], literal.masks[place]);
          CHECK_FALSE(!(error <= tolerance));
        }
        for (size_t k = 0; k < fused.gradients.size(); ++k) {
          INFO(model.parameters().all()[k].name);
          REQUIRE(static_cast<bool>(fused.gradients[k]) == static_cast<bool>(literal.gradients[k]));
          if (!fused.gradients[k]) continue;
          const double error = relative_difference(fused.gradients[k], literal.gradients[k]);
          INFO("error ", error);
          CHECK_FALSE(!(error <= tolerance));
        }
      }
}

TEST_CASE("model gradients: two runs give the same bits") {
  const OneThread one_thread;
  for (const ModelVariant& v : model_variants()) {
    INFO(v.name);
    Transformer model = lively_model(v.config, DType::float32);
    const ModelRun first = run_model(model, ids(), targets(), training_pass());
    const ModelRun second = run_model(model, ids(), targets(), training_pass());
    CHECK(first.loss == second.loss);
    CHECK(first.masks == second.masks);
    for (size_t k = 0; k < first.gradients.size(); ++k)
      CHECK(same_bits(first.gradients[k], second.gradients[k]));
  }
}

}  // namespace ld
