// ./train CONFIG.toml: trains the model a config describes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "autograd/trace.h"
#include "engine/device_details.h"
#include "engine/threads.h"
#include "model/sites.h"
#include "training/command_line.h"
#include "training/forecast.h"
#include "training/generate.h"
#include "training/interrupt.h"
#include "training/profile.h"
#include "training/safe_file.h"
#include "training/text.h"
#include "training/trainer.h"

namespace {

struct Options {
  std::string config, out, draw, profile;
  std::vector<std::string> overrides, removals;
  std::optional<int64_t> steps;
  bool resume = false, overwrite = false, dry_run = false, forecast = false, device_info = false,
       keys = false, profiles = false;
};

// The tape of one sequence of the first step, as a table on the screen and a graph in a file.
void draw_tape(ld::Transformer& model, const ld::RunConfig& config, const ld::Dataset& data,
               const std::string& file) {
  const ld::NoiseKey key{.seed = static_cast<uint64_t>(config.seed)};
  const ld::Batch batch =
      ld::draw_batch(data.train, 1, config.model_config.context_size, key.at(ld::sites::train_batches));
  auto forward_and_backward = [&] {
    model.parameters().zero_gradients();
    ld::Tape tape;
    tape.backward(model(batch.ids, batch.targets, ld::Pass{.training = true, .noise = key}).loss);
  };
  forward_and_backward();  // the first time also pays for memory and library start-up
  const ld::TapeTrace trace;
  forward_and_backward();
  fmt::print("{}", trace.table());
  ld::write_file(file, trace.dot());
  fmt::print("drawn     {}; dot -Tsvg -O {} makes a picture of it\n", file, file);
}

int describe_device() {
  ld::require_device();
  fmt::print("device        {}\n{}", ld::device_in_words(), ld::device_details());
  return 0;
}

// The run with every op timed; the table and the trace also when it is interrupted or fails.
ld::RunEnd train_profiled(ld::Trainer& trainer, const std::string& file) {
  const ld::Profile profile;
  auto report = [&] {
    if (!file.empty()) profile.write_trace(file);
    fmt::print("{}", profile.table());
    if (!file.empty())
      fmt::print("trace     {}: every call of the first {} steps; https://ui.perfetto.dev opens it\n", file,
                 profile.traced_steps());
  };
  try {
    const ld::RunEnd end = trainer.run();
    report();
    return end;
  } catch (const ld::Error&) {
    report();
    throw;
  }
}

// Whatever is wrong with the sample, the run has ended well.
void print_sample(const std::string& folder, int64_t tokens) {
  try {
    ld::print_sample_of_run(folder, tokens);
  } catch (const std::exception& error) {
    fmt::print(stderr, "note      no sample: {}\n", error.what());
  }
}

// runs/NAME for NAME.toml; for the config.toml that a run has written, the folder of that run.
std::string usual_folder(const std::filesystem::path& config) {
  const std::filesystem::path folder = config.has_parent_path() ? config.parent_path() : ".";
  const bool of_a_run = config.filename() == "config.toml" && std::filesystem::exists(folder / "lock");
  return of_a_run ? folder.string() : "runs/" + config.stem().string();
}

int train(const Options& options) {
  ld::RunConfig config = ld::read_run_config(options.config, options.overrides, options.removals);
  config.train_steps = options.steps.value_or(config.train_steps);
  ld::require_device();
  const ld::Dataset data = ld::open_dataset(config);
  const std::string folder = options.out.empty() ? usual_folder(options.config) : options.out;

  if (options.dry_run) fmt::print("{}\n", ld::to_toml(config));
  const std::optional<uint64_t> seed(config.seed), no_seed;
  ld::Transformer model(config.model_config, config.model_dtype(), options.dry_run ? no_seed : seed);
  fmt::print("device    {}\n", ld::device_in_words());
  fmt::print("data      {}: {} train and {} val tokens, vocabulary {}\n", config.data,
             ld::grouped(static_cast<int64_t>(data.train.tokens().size())),
             ld::grouped(static_cast<int64_t>(data.val.tokens().size())),
             ld::grouped(config.model_config.alphabet_size));
  fmt::print("model     {} parameters without the positional embedding ({} with it), {}\n",
             ld::grouped(model.parameter_count()), ld::grouped(model.parameters().elements()), config.dtype);
  std::fflush(stdout);
  if (!options.draw.empty()) {
    draw_tape(model, config, data, options.draw);
    return 0;
  }
  if (options.dry_run) {
    const ld::Forecast known = ld::weigh(model);
    fmt::print(
        "memory    {} for weights, gradients and optimizer; --forecast measures the rest, and the time\n",
        ld::bytes_text(known.memory()));
    return 0;
  }
  auto print_forecast = [&](int64_t steps_done) {
    fmt::print("{}", forecast_text(forecast(model, config, data, steps_done), config));
  };
  if (options.forecast) {
    print_forecast(0);
    return 0;
  }
  const auto start = options.resume      ? ld::RunStart::resume
                     : options.overwrite ? ld::RunStart::overwrite
                                         : ld::RunStart::fresh;
  ld::Trainer trainer(config, model, data, folder, start);
  if (trainer.state().step < config.train_steps) print_forecast(trainer.state().step);
  fmt::print("run       {}{}\n", folder,
             options.resume ? fmt::format(", resumed after step {}", trainer.state().step) : std::string());
  std::fflush(stdout);
  ld::catch_interrupts();
  ld::outlive_readers();
  const ld::RunEnd end = options.profiles ? train_profiled(trainer, options.profile) : trainer.run();
  if (end == ld::RunEnd::interrupted) return 130;
  if (config.sample_tokens > 0) print_sample(folder, config.sample_tokens);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ld::wait_politely(argv);
  ld::give_signals_a_thread();
  Options options;
  CLI::App app(
      "Trains a transformer, with LearnedDropout or without, as a config says.\n"
      "  ./train configs/quickstart.toml      minutes on two CPU cores\n"
      "  ./train configs/precomputed.toml     the published run with pre-computed masks",
      "train");
  app.get_formatter()->column_width(28);
  app.add_option("CONFIG", options.config, "A TOML file; see configs/ and --keys");
  app.add_option("--set", options.overrides, "Change a key of the config, e.g. --set model_config.n_layer=4")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--unset", options.removals,
                 "Leave out a key or section of the config, as if its file had not got it")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--out", options.out,
                 "Folder of the run [runs/NAME_OF_CONFIG; for a run's own config.toml, its folder]")
      ->type_name("DIR");
  auto* resume = app.add_flag("--resume", options.resume, "Go on from the folder's last checkpoint");
  app.add_flag("--overwrite", options.overwrite, "Replace a run that is already in the folder")
      ->excludes(resume);
  app.add_option("--steps", options.steps,
                 "Train until step N instead of train_steps; the learning rate keeps the config's schedule")
      ->type_name("N")
      ->check(CLI::Range(1, 2147483647));
  auto* dry_run = app.add_flag(
      "--dry-run", options.dry_run,
      "Check config and data, print the resolved config and the parameter count, and exit at once");
  app.add_flag("--forecast", options.forecast,
               "Measure what the run needs here, a memory table and a time estimate, and exit");
  app.add_flag("--device-info", options.device_info, "Describe the device this build trains on, and exit");
  app.add_option("--draw", options.draw,
                 "Print the tape of one sequence, op by op with bytes, times and gradient norms, write it as "
                 "a graph for Graphviz, and exit")
      ->type_name("FILE.dot")
      ->excludes(dry_run);
  auto* profile = app.add_option("--profile", options.profile,
                                 "Time every op; at the end print time and bytes per op, and write the first "
                                 "steps as a trace for ui.perfetto.dev")
                      ->type_name("[FILE.json]")
                      ->expected(0, 1)
                      ->check([](const std::string& name) {
                        return name.ends_with(".json") ? "" : name + " does not end in .json";
                      });
  app.add_flag("--keys", options.keys, "List every key a config may have, and exit");
  return ld::run_program(app, argc, argv, [&] {
    options.profiles = profile->count() > 0;
    if (options.keys) return fmt::print("{}", ld::list_run_config_keys()), 0;
    if (options.device_info) return describe_device();
    if (options.config.empty()) throw CLI::RequiredError("CONFIG");
    return train(options);
  });
}
