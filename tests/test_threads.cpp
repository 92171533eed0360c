// Our own kernels cut their work the same way whatever the number of threads, so their bits do not depend on it.
// (Those of matrix products may: docs/speed.md.)
#include <doctest/doctest.h>

#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layernorm.h"
#include "ops/learned_dropout.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "training/optimizer.h"

namespace ld {
namespace {

constexpr int64_t B = 4, T = 80, C = 64, V = 150;  // more of everything than one thread is left to do alone

struct NamedFunction {
  const char* name;
  Function f;
  std::vector<Shape> shapes;
};

std::vector<NamedFunction> functions() {
  const NoiseKey noise{.seed = 7, .site = 3};
  const Tensor ids = random_tokens(B, T, V, 1), targets = random_tokens(B, T, V, 2);
  using Inputs = const std::vector<Var>&;
  return {{"attention", [](Inputs x) { return causal_attention(x[0], 4); }, {{B, T, 3 * C}}},
          {"attention with dropout",
           [=](Inputs x) {
             return causal_attention(x[0], 4, {0.2, noise});
           },
           {{B, T, 3 * C}}},
          {"layernorm", [](Inputs x) { return layernorm(x[0], x[1], x[2]); }, {{B, T, C}, {C}, {C}}},
          {"gelu", [](Inputs x) { return gelu(x[0]); }, {{B, T, C}}},
          {"dropout", [=](Inputs x) { return dropout(x[0], 0.2, noise); }, {{B, T, C}}},
          {"learned_dropout",
           [=](Inputs x) {
             const MaskOptions options{
                 .rounding = MaskRounding::noise_and_linear, .stochastic = true, .key = noise};
             return learned_dropout(x[0], x[1], x[2], options).y;
           },
           {{B, T, C}, {B, T, C}, {C}}},
          {"embedding", [=](Inputs x) { return embedding(ids, x[0], x[1]); }, {{V, C}, {T, C}}},
          {"cross_entropy", [=](Inputs x) { return cross_entropy(x[0], targets).loss; }, {{B, T, V}}},
          {"mean", [](Inputs x) { return mean(x[0]); }, {{B, T, C}}}};
}

}  // namespace

TEST_CASE("threads: the bits of our kernels do not depend on their number") {
  for (DType dtype : {DType::float32, DType::bfloat16})
    for (const NamedFunction& function : functions()) {
      INFO(std::string(function.name), " ", std::string(name_of(dtype)));
      std::vector<Tensor> inputs;
      for (const Shape& shape : function.shapes)
        inputs.push_back(cast(random_tensor(shape, inputs.size() + 1), dtype));
      auto on = [&](int count) {
        const Threads threads(count);
        return run(function.f, inputs);
      };
      const Run one = on(1);
      for (int count : {2, 3, 8}) {
        INFO(count, " threads");
        const Run several = on(count);
        CHECK(same_bits(several.value, one.value));
        for (size_t i = 0; i < inputs.size(); ++i) CHECK(same_bits(several.gradients[i], one.gradients[i]));
      }
    }
}

TEST_CASE("threads: nor do those of the optimizer") {
  auto updated = [](int count) {
    const Threads threads(count);
    Parameters parameters(DType::float32, 5);
    for (const char* name : {"one", "two"}) {
      parameters.normal(name, {70, 1000}, 0.5);
      parameters.all().back().var.slot()->gradient =
          cast(random_tensor({70, 1000}, parameters.all().size()), DType::float32);
    }
    AdamW optimizer(parameters, {});
    const Tensor norm = optimizer.gradient_norm();
    optimizer.step(0.01, clip_factor(norm, 1));
    return std::vector<Tensor>{norm, parameters.all()[0].master, parameters.all()[1].master};
  };
  const auto one = updated(1);
  for (int count : {2, 3, 8})
    for (size_t i = 0; i < one.size(); ++i) CHECK(same_bits(updated(count)[i], one[i]));
}

}  // namespace ld
