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
  CHECK(f.steps == 1000);
  const std::string text = forecast_text(f, config);
  for (const char* part : {"weights", "gradients", "optimizer", "activations", "workspace", "together",
                           "tokens/s", "8,000 tokens", "1,000 steps"}) {
    INFO(part);
    CHECK(text.find(part) != text.npos);
  }
}

TEST_CASE("forecast: a resumed run is told what is left of it") {
  const SmallData data;
  RunConfig config = larger_run(data, DropoutInput::embed);
  config.train_steps = 1000;
  config.est_interval = 300;  // estimates after 300, 600, 900 and 1000 steps
  config.est_steps = 7;
  const Dataset dataset = open_dataset(config);
  Transformer model(config.model_config, DType::float32, 1);
  struct Case {
    int64_t done, steps, estimates;
  };
  for (const Case& c : {Case{0, 1000, 4}, {299, 701, 4}, {300, 700, 3}, {950, 50, 1}}) {
    INFO(c.done);
    const Forecast f = forecast(model, config, dataset, c.done);
    CHECK(f.steps == c.steps);
    const double step = f.step_seconds;  // with one micro-batch a step
    CHECK(f.run_seconds ==
          doctest::Approx(step * (static_cast<double>(c.steps) + static_cast<double>(14 * c.estimates) / 3)));
  }
}

TEST_CASE("forecast: where this machine is too small for a run, another config is named") {
  const SmallData data;
  RunConfig config = small_run(data);
  Forecast f;
  f.steps = 10;
  f.run_seconds = 3600;
  CHECK(forecast_text(f, config).find("configs/") == std::string::npos);
  f.run_seconds = 5 * 86400;
  config.model_config.alphabet_size = 50257;
  CHECK(forecast_text(f, config).find("5 days for 10 steps") != std::string::npos);
  CHECK(forecast_text(f, config).find("configs/quickstart.toml is a whole run in minutes") !=
        std::string::npos);
  config.model_config.alphabet_size = 65;
  CHECK(forecast_text(f, config).find("configs/shakespeare_cpu.toml") != std::string::npos);
  f.run_seconds = 1;
  f.activations = int64_t{1} << 60;
  const bool warns = forecast_text(f, config).find("warning") != std::string::npos;
  CHECK(warns == (std::string(device_name()) == "cpu"));
}

TEST_CASE("forecast: what follows from the parameters is known without setting them") {
  const SmallData data;
  const RunConfig config = larger_run(data, DropoutInput::embed);
  ModelConfig model = config.model_config;
  model.alphabet_size = 11;
  const Transformer counted(model, DType::float32, std::nullopt), set(model, DType::float32, 1);
  CHECK(counted.parameter_count() == set.parameter_count());
  CHECK(weigh(counted).weights == 4 * counted.parameters().elements());
  CHECK(weigh(counted).memory() == 16 * counted.parameters().elements());
}

}  // namespace ld
