// Training in bfloat16: float32 masters of the weights, float32 gradients, and a loss that follows float32's.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "ops/embedding.h"
#include "ops/layernorm.h"
#include "ops/linear.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "tests/small_run.h"

namespace ld {
namespace {

// The cross-entropy of every step of a run.
std::vector<double> losses_of(const std::string& folder) {
  std::vector<double> losses;
  for (const auto& entry : metrics_of(folder))
    if (entry.contains("cross_entropy")) losses.push_back(entry.at("cross_entropy"));
  return losses;
}

double mean(const std::vector<double>& values, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += values.at(i);
  return sum / static_cast<double>(end - begin);
}

}  // namespace

TEST_CASE("bfloat16 training: masters begin as the float32 model does, the model reads them rounded") {
  const SmallData data;
  const RunConfig config = small_run(data);
  ModelConfig model_config = config.model_config;
  model_config.alphabet_size = 11;
  const Transformer full(model_config, DType::float32, 3), narrow(model_config, DType::bfloat16, 3);
  for (size_t k = 0; k < full.parameters().all().size(); ++k) {
    const Parameter &f = full.parameters().all()[k], &n = narrow.parameters().all()[k];
    INFO(f.name);
    CHECK_FALSE(f.has_copy());
    CHECK(f.master.raw() == f.var.value().raw());
    CHECK(n.has_copy());
    CHECK(same_bits(n.master, f.master));
    CHECK(same_bits(n.var.value(), cast(f.master, DType::bfloat16)));
  }
}

// In bfloat16 a sum of ones stops at 256.
TEST_CASE("bfloat16 training: gradients of weights are summed in float32, whichever op they come from") {
  const int64_t n = 4, passes = 600;
  auto weight = [&](const Shape& shape) {
    return Var::leaf(
        Tensor::from(std::vector<double>(static_cast<size_t>(shape.elements()), 1), shape, DType::bfloat16),
        "w", DType::float32);
  };
  auto ones = [&](const Shape& shape) {
    return Tensor::from(std::vector<double>(static_cast<size_t>(shape.elements()), 1), shape,
                        DType::bfloat16);
  };
  Var matrix = weight({n, n}), bias = weight({n}), norm = weight({n}), norm_bias = weight({n}),
      tokens = weight({2, n}), positions = weight({1, n});
  for (int64_t pass = 0; pass < passes; ++pass) {
    Tape tape;
    tape.backward(linear(ones({1, n}), matrix, bias), ones({1, n}));
    Tape second;
    second.backward(layernorm(ones({1, n}), norm, norm_bias), ones({1, n}));
    Tape third;
    third.backward(embedding(Tensor::from(std::vector<int32_t>{1}, {1, 1}), tokens, positions),
                   ones({1, 1, n}));
  }
  for (const Var* v : {&matrix, &bias, &norm_bias, &positions}) {
    CHECK(v->gradient().dtype() == DType::float32);
    for (double g : v->gradient().to_vector()) CHECK(g == static_cast<double>(passes));
  }
  CHECK(norm.gradient().dtype() == DType::float32);
  const auto rows = tokens.gradient().to_vector();
  for (size_t j = 0; j < rows.size(); ++j) CHECK(rows[j] == (j < n ? 0.0 : static_cast<double>(passes)));
  CHECK_THROWS_WITH_AS(
      Var::leaf(Tensor::zeros({1}, DType::float32), "w", DType::bfloat16),
      "leaf w: the gradient of float32 cannot be kept in bfloat16; only that of bfloat16 may "
      "differ, and be float32",
      Error);
}

// 1 + 2⁻¹² is 1 in bfloat16: without a master, a thousand such steps would go nowhere.
TEST_CASE("bfloat16 training: updates too small for bfloat16 add up") {
  Parameters parameters(DType::bfloat16, 1);
  Var w = parameters.constant("w", {33}, 1);
  AdamW optimizer(parameters, {.weight_decay = 0});
  for (int step = 0; step < 64; ++step) {
    w.slot()->gradient =
        cast(Tensor::from(std::vector<double>(33, -1.0), {33}, DType::float64), DType::float32);
    optimizer.step(0x1p-12);
  }
  for (double x : parameters.all()[0].master.to_vector())
    CHECK(x == doctest::Approx(1 + 0x1p-6).epsilon(1e-6));
  for (double x : w.value().to_vector()) CHECK(x == 1 + 0x1p-6);  // has 8 bits, so exactly
}

// The two runs draw the same batches and the same noise. Where M and the noise differ by less than the
// rounding, a mask element differs, so the curves are not one; measured: means over 15 steps differ by
// 0.002 at most, of a loss that falls from 2.4.
TEST_CASE("bfloat16 training: the loss follows float32's over 150 steps") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.train_steps = config.lr_decay_iters = 150;
  config.est_interval = config.checkpoint_interval = 150;
  train(config, data.folder("float32"));
  config.dtype = "bfloat16";
  train(config, data.folder("bfloat16"));
  const auto full = losses_of(data.folder("float32")), narrow = losses_of(data.folder("bfloat16"));
  REQUIRE(full.size() == 150);
  REQUIRE(narrow.size() == 150);
  CHECK(mean(full, 140, 150) < 0.8 * mean(full, 0, 10));  // there is a curve to follow
  double worst = 0;
  for (size_t begin = 0; begin < 150; begin += 15)
    worst = std::max(worst, std::abs(mean(full, begin, begin + 15) - mean(narrow, begin, begin + 15)));
  INFO("largest difference of the means over 15 steps: ", worst);
  CHECK(worst < 0.01);
  CHECK(full != narrow);
}

TEST_CASE("bfloat16 training: a run continued later ends to the bit like one that never stopped") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.dtype = "bfloat16";
  train(config, data.folder("whole"));
  train(config, data.folder("again"));
  expect_same_end(data.folder("again"), data.folder("whole"));
  config.train_steps = 4;
  train(config, data.folder("parts"));
  config.train_steps = 12;
  CHECK(train(config, data.folder("parts"), RunStart::resume) == RunEnd::finished);
  expect_same_end(data.folder("parts"), data.folder("whole"));
  config.dtype = "float32";
  CHECK(error_of([&] { train(config, data.folder("parts"), RunStart::resume); }).find("dtype") !=
        std::string::npos);
}

TEST_CASE("bfloat16 training: every variant of the model has a finite loss and float32 gradients") {
  const OneThread one_thread;
  const Tensor ids = random_tokens(2, 5, 11, 1), targets = random_tokens(2, 5, 11, 2);
  for (const ModelVariant& v : model_variants())
    for (bool literal : {false, true}) {
      INFO(v.name, std::string(literal ? ", literal" : ""));
      Transformer model = lively_model(v.config, DType::bfloat16);
      Pass pass = training_pass();
      pass.literal = literal;
      const ModelRun run = run_model(model, ids, targets, pass);
      CHECK(std::isfinite(run.loss));
      for (const Tensor& gradient : run.gradients)
        if (gradient) CHECK(gradient.dtype() == DType::float32);
    }
}

}  // namespace ld
