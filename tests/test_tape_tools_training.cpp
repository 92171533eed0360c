// What a training run does when numbers stop being finite: it names the op and leaves the checkpoints alone.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "tests/expect.h"
#include "tests/temporary_directory.h"
#include "training/trainer.h"

namespace ld {
namespace {

/// A run of a tiny transformer without LearnedDropout, in a folder of its own.
struct TinyRun {
  TinyRun() {
    config.data = directory / "data";
    config.train_steps = 4;
    config.batch_size = 2;
    config.gradient_accumulation_steps = 2;
    config.lr = 1e-3;
    config.decay_lr = false;
    config.est_interval = 100;
    config.est_steps = 1;
    config.checkpoint_interval = 1;
    ModelConfig& model = config.model_config;
    model.alphabet_size = 7;
    model.context_size = 4;
    model.n_embed = 8;
    model.n_head = 2;
    model.n_layer = 1;
    std::string tokens;
    for (int i = 0; i < 64; ++i) tokens += {static_cast<char>(i * i % 7), 0};
    directory.file("data_train.bin", tokens);
    directory.file("data_val.bin", tokens);
  }

  Trainer trainer(Transformer& model, const Dataset& data, RunStart start = RunStart::fresh) {
    return Trainer(config, model, data, directory / "run", start);
  }
  Transformer model() const { return Transformer(config.model_config, DType::float32, 1); }

  TemporaryDirectory directory;
  RunConfig config;
};

void fill(const Transformer& model, const std::string& name, double value) {
  for (const Parameter& p : model.parameters().all())
    if (p.name == name)
      p.var.value().assign(std::vector<double>(static_cast<size_t>(p.var.value().elements()), value));
}

TEST_CASE("gradient norm: over all parameters, and NaN stays visible") {
  Parameters parameters(DType::float32, 1);
  const Var a = parameters.constant("a", {2}, 0), b = parameters.constant("b", {}, 0),
            c = parameters.constant("c", {3}, 0);
  AdamW optimizer(parameters, {});
  CHECK(optimizer.gradient_norm().item() == 0);
  a.slot()->gradient = Tensor::from({3e30, 0}, {2}, DType::float32);  // its square is no float32 any more
  b.slot()->gradient = Tensor::from({-4e30}, {}, DType::float32);
  CHECK(optimizer.gradient_norm().item() == doctest::Approx(5e30));
  b.slot()->gradient = Tensor::scalar(NAN, DType::float32);
  CHECK(std::isnan(optimizer.gradient_norm().item()));
  b.slot()->gradient = Tensor::scalar(-std::numeric_limits<double>::infinity(), DType::float32);
  CHECK(std::isinf(optimizer.gradient_norm().item()));
}

TEST_CASE("training: a loss that is not finite stops the run and names the op") {
  TinyRun run;
  const Dataset data = open_dataset(run.config);
  Transformer model = run.model();
  run.config.train_steps = 1;
  run.trainer(model, data).run();
  const std::string checkpoint = file_bytes(run.directory / "run/last.safetensors");
  run.config.train_steps = 4;
  Trainer trainer = run.trainer(model, data, RunStart::resume);
  fill(model, "blocks.0.attention.qkv.weight", NAN);
  expect_error([&] { trainer.run(); },
               {"step 2: the loss is not finite", "start another run with a lower lr",
                "The first op to blame:\nmicro-batch 1/2, op ",
                ", linear: output 0 (2, 4, 24) float32 is nan at element 0",
                "\n  input 1 (24, 8) float32, leaf blocks.0.attention.qkv.weight, is nan at element 0"});
  CHECK(file_bytes(run.directory / "run/last.safetensors") == checkpoint);
}

TEST_CASE("training: a gradient that is not finite behind a finite loss stops the run before the update") {
  TinyRun run;
  const Dataset data = open_dataset(run.config);
  Transformer model = run.model();
  // The feed-forward multiplies zeros with huge weights: nothing forward, too much backward.
  fill(model, "blocks.0.feed_forward.expand.weight", 0);
  fill(model, "blocks.0.feed_forward.contract.weight", 3e38);
  fill(model, "final_layernorm.weight", 1e4);
  std::vector<Tensor> before;
  for (const Parameter& p : model.parameters().all()) before.push_back(p.var.value().clone());
  expect_error([&] { run.trainer(model, data).run(); },
               {"step 1: the gradient is not finite", "micro-batch 1/2, op ",
                ", linear, backward: the gradient of input 0 (2, 4, 32) float32, op ", ", gelu is "});
  for (size_t k = 0; k < before.size(); ++k)
    CHECK(same_bits(model.parameters().all()[k].var.value(), before[k]));
  CHECK_FALSE(std::filesystem::exists(run.directory / "run/last.safetensors"));
}

TEST_CASE("training: the gradient norm is in metrics.jsonl") {
  TinyRun run;
  const Dataset data = open_dataset(run.config);
  Transformer model = run.model();
  CHECK(run.trainer(model, data).run() == RunEnd::finished);
  const std::string metrics = file_bytes(run.directory / "run/metrics.jsonl");
  CHECK(metrics.find("\"grad_norm\":") != std::string::npos);
}

}  // namespace
}  // namespace ld
