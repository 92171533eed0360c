// What a run is said to need, against what it then takes.
#include <doctest/doctest.h>

#include "tests/expect.h"
#include "tests/small_run.h"
#include "training/forecast.h"

namespace ld {
namespace {

RunConfig larger_run(const SmallData& data, DropoutInput input) {
  RunConfig config = small_run(data);
  config.train_steps = config.est_interval = 2;
  config.est_steps = 1;
  config.batch_size = 40;
  config.gradient_accumulation_steps = 1;
  config.model_config.context_size = 50;
  config.model_config.n_embed = 48;
  config.model_config.learned_dropout_config->dropout_input_type = input;
  return config;
}

int64_t use(const MemoryReport& report, MemoryUse use) {
  return report.by_use[static_cast<size_t>(use)].peak;
}

}  // namespace

TEST_CASE("forecast: memory is what a run takes, within 15 %") {
  const SmallData data;
  for (DropoutInput input : {DropoutInput::hidden_state, DropoutInput::embed}) {
    RunConfig config = larger_run(data, input);
    const Dataset dataset = open_dataset(config);
    Forecast predicted;
    {
      Transformer model(config.model_config, DType::float32, 1);
      predicted = forecast(model, config, dataset);
      for (const Parameter& p : model.parameters().all()) CHECK_FALSE(p.var.gradient());
    }
    reset_memory_peaks();
    const MemoryReport before = memory_report();
    train(config, data.folder("run"), RunStart::overwrite);
    const MemoryReport after = memory_report();
    auto taken = [&](MemoryUse what) {
      return use(after, what) - before.by_use[static_cast<size_t>(what)].now;
    };
    // The pool rounds every block up, which shows in small tensors.
    auto expect = [&](int64_t forecast, MemoryUse what, double tolerance) {
      INFO(std::string(name_of(what)));
      CHECK(static_cast<double>(forecast) ==
            doctest::Approx(static_cast<double>(taken(what))).epsilon(tolerance));
    };
    expect(predicted.weights, MemoryUse::weights, 0.03);
    expect(predicted.gradients, MemoryUse::gradients, 0.03);
    expect(predicted.optimizer, MemoryUse::optimizer, 0.03);
    expect(predicted.activations, MemoryUse::activations, 0.15);
    const auto together = static_cast<double>(after.total.peak - before.total.now);
    CHECK(static_cast<double>(predicted.memory()) == doctest::Approx(together).epsilon(0.15));
  }
}

TEST_CASE("forecast: times are positive and add up") {
  const SmallData data;
  RunConfig config = larger_run(data, DropoutInput::embed);
  config.train_steps = 1000;
  config.gradient_accumulation_steps = 4;
  const Dataset dataset = open_dataset(config);
  Transformer model(config.model_config, DType::float32, 1);
  const Forecast f = forecast(model, config, dataset);
  CHECK(f.tokens_per_second > 0);
  CHECK(f.step_seconds == doctest::Approx(4 * 40 * 50 / f.tokens_per_second));
  CHECK(f.run_seconds > 1000 * f.step_seconds);
  CHECK(f.run_seconds < 2000 * f.step_seconds);
  const std::string text = forecast_text(f, config);
  for (const char* part : {"weights", "gradients", "optimizer", "activations", "workspace", "together",
                           "tokens/s", "8,000 tokens", "1,000 steps"}) {
    INFO(part);
    CHECK(text.find(part) != text.npos);
  }
}

}  // namespace ld
