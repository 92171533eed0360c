// ./train CONFIG.toml: trains the model a config describes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "autograd/trace.h"
#include "engine/threads.h"
#include "model/sites.h"
#include "training/forecast.h"
#include "training/interrupt.h"
#include "training/profile.h"
#include "training/safe_file.h"
#include "training/trainer.h"

namespace {

struct Options {
  std::string config, out, draw, profile;
  std::vector<std::string> overrides;
  bool resume = false, overwrite = false, dry_run = false, keys = false, profiles = false;
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
  ld::SafeFile graph(file);
  graph.write(trace.dot());
  graph.finish();
  graph.publish();
  fmt::print("drawn     {}; dot -Tsvg -O {} makes a picture of it\n", file, file);
}

// The run with every op timed; the table and the trace also when it is interrupted.
int train_profiled(ld::Trainer& trainer, const std::string& file) {
  const ld::Profile profile;
  const ld::RunEnd end = trainer.run();
  fmt::print("{}", profile.table());
  if (!file.empty()) {
    profile.write_trace(file);
    fmt::print("trace     {}: every call of the first {} steps; https://ui.perfetto.dev opens it\n", file,
               profile.traced_steps());
  }
  return end == ld::RunEnd::finished ? 0 : 130;
}

int train(const Options& options) {
  ld::RunConfig config = ld::read_run_config(options.config, options.overrides);
  ld::require_device();
  const ld::Dataset data = ld::open_dataset(config);
  const std::string folder =
      options.out.empty() ? "runs/" + std::filesystem::path(options.config).stem().string() : options.out;

  if (options.dry_run) fmt::print("{}\n", ld::to_toml(config));
  ld::Transformer model(config.model_config, config.model_dtype(), static_cast<uint64_t>(config.seed));
  fmt::print("device    {}: {}\n", ld::device_name(), ld::device_description());
  fmt::print("data      {}: {} train and {} val tokens, vocabulary {}\n", config.data,
             ld::grouped(static_cast<int64_t>(data.train.tokens().size())),
             ld::grouped(static_cast<int64_t>(data.val.tokens().size())),
             ld::grouped(config.model_config.alphabet_size));
  fmt::print("model     {} parameters without the positional embedding ({} with it)\n",
             ld::grouped(model.parameter_count()), ld::grouped(model.parameters().elements()));
  std::fflush(stdout);
  if (!options.draw.empty()) {
    draw_tape(model, config, data, options.draw);
    return 0;
  }
  auto print_forecast = [&] { fmt::print("{}", forecast_text(forecast(model, config, data), config)); };
  if (options.dry_run) {
    print_forecast();
    return 0;
  }
  const auto start = options.resume      ? ld::RunStart::resume
                     : options.overwrite ? ld::RunStart::overwrite
                                         : ld::RunStart::fresh;
  ld::Trainer trainer(config, model, data, folder, start);
  print_forecast();
  fmt::print("run       {}{}\n", folder,
             options.resume ? fmt::format(", resumed after step {}", trainer.state().step) : std::string());
  std::fflush(stdout);
  ld::catch_interrupts();
  if (options.profiles) return train_profiled(trainer, options.profile);
  return trainer.run() == ld::RunEnd::finished ? 0 : 130;
}

}  // namespace

int main(int argc, char** argv) {
  ld::wait_politely(argv);
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
  app.add_option("--out", options.out, "Folder of the run [runs/NAME_OF_CONFIG]")->type_name("DIR");
  auto* resume = app.add_flag("--resume", options.resume, "Go on from the folder's last checkpoint");
  app.add_flag("--overwrite", options.overwrite, "Replace a run that is already in the folder")
      ->excludes(resume);
  app.add_flag(
      "--dry-run", options.dry_run,
      "Print the resolved config, the parameter count, a memory table and a time estimate, and exit");
  app.add_option("--draw", options.draw,
                 "Print the tape of one sequence, op by op with bytes, times and gradient norms, write it as "
                 "a graph for "
                 "Graphviz, and exit")
      ->type_name("FILE.dot");
  auto* profile = app.add_option("--profile", options.profile,
                                 "Time every op; at the end print time and bytes per op, and write the first "
                                 "steps as a trace for ui.perfetto.dev")
                      ->type_name("[FILE.json]")
                      ->expected(0, 1)
                      ->check([](const std::string& name) {
                        return name.ends_with(".json") ? "" : name + " does not end in .json";
                      });
  app.add_flag("--keys", options.keys, "List every key a config may have, and exit");
  try {
    app.parse(argc, argv);
    options.profiles = profile->count() > 0;
    if (options.keys) {
      fmt::print("{}", ld::list_run_config_keys());
      return 0;
    }
    if (options.config.empty()) throw CLI::RequiredError("CONFIG");
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "train: {}; see ./train --help\n", error.what());
    return 1;
  }
  try {
    return train(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
