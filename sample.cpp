// ./sample RUN: text by the model of a run.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "engine/threads.h"
#include "training/command_line.h"
#include "training/generate.h"
#include "training/interrupt.h"
#include "training/safe_file.h"
#include "training/saved_model.h"
#include "training/text.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string run, checkpoint, tokenizer, prompt, prompt_file;
  ld::SavedModelOptions model;
  int64_t tokens = 200, samples = 1, seed = 1337;
  ld::SamplingOptions sampling;
  bool no_cache = false;
};

template <class... Parts>
void note(fmt::format_string<Parts...> format, Parts&&... parts) {
  fmt::print(stderr, format, std::forward<Parts>(parts)...);
}

void describe(const ld::SavedModel& saved, const std::string& path) {
  note("model     {}: step {}{}, {} parameters\n", path, ld::grouped(saved.step),
       std::isfinite(saved.best_val_loss) ? fmt::format(", best val loss {:.4f}", saved.best_val_loss) : "",
       ld::grouped(saved.model->parameter_count()));
}

/// The time of the tokens after the first, which also pays for the prompt.
struct Stopwatch {
  Clock::time_point first, last;
  int64_t tokens = 0;

  void count() {
    last = Clock::now();
    if (tokens++ == 0) first = last;
  }
  double milliseconds_per_token() const {
    return std::chrono::duration<double, std::milli>(last - first).count() / static_cast<double>(tokens - 1);
  }
};

int sample(const Options& options) {
  ld::require_device();
  options.sampling.validate();
  const std::string path = ld::find_checkpoint(options.run, options.checkpoint);
  const ld::SavedModel saved(path, options.model);
  const auto tokenizer = ld::tokenizer_of(saved.config, ld::folder_of(options.run), options.tokenizer);
  const std::string text = options.prompt_file.empty() ? options.prompt : ld::read_file(options.prompt_file);
  const std::vector<int32_t> prompt = ld::prompt_tokens(tokenizer, text);
  const ld::ModelConfig& config = saved.config.model_config;

  describe(saved, path);
  if (!tokenizer)
    note(
        "note: {}.toml is not there or names no tokenizer, so the tokens are printed as numbers; "
        "--tokenizer FILE makes text of them\n",
        saved.config.data);
  if (static_cast<int64_t>(prompt.size()) > config.context_size)
    note("note: the prompt has {} tokens, of which the model sees the last {}, its context_size\n",
         prompt.size(), config.context_size);
  const std::string obstacle = ld::Decoder::obstacle(*saved.model);
  if (!obstacle.empty()) note("note: {}; every token runs the whole window\n", obstacle);

  ld::GenerateOptions how{.tokens = options.tokens,
                          .seed = static_cast<uint64_t>(options.seed),
                          .sampling = options.sampling,
                          .caching = options.no_cache ? ld::Caching::off : ld::Caching::on};
  ld::catch_interrupts("");
  for (; how.sample < options.samples && !ld::interrupted(); ++how.sample) {
    if (how.sample > 0) fmt::print("----------------\n");
    ld::TokenPrinter printer(tokenizer);
    if (!text.empty()) printer.print(prompt);
    Stopwatch watch;
    ld::generate(*saved.model, prompt, tokenizer ? tokenizer->vocabulary_size() : config.alphabet_size, how,
                 [&](int32_t token) {
                   printer.print(std::span(&token, 1));
                   watch.count();
                   return !ld::interrupted();
                 });
    printer.end_line();
    if (watch.tokens > 1) note("time      {:.1f} ms a token\n", watch.milliseconds_per_token());
  }
  return ld::interrupted() ? 130 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  ld::wait_politely(argv);
  ld::give_signals_a_thread();
  Options options;
  CLI::App app(
      "Prints text by the model of a run, token by token as it is chosen.\n"
      "  ./sample runs/quickstart                                after ./train configs/quickstart.toml\n"
      "  ./sample runs/quickstart --prompt \"A tree is\" --temperature 0",
      "sample");
  app.footer(
      "Standard output gets the text alone, valid UTF-8: a byte that is part of no character appears as "
      "U+FFFD. Several samples are separated by a line of dashes.\n"
      "The same seed gives the same text.");
  app.get_formatter()->column_width(28);
  constexpr int64_t most = 2147483647;
  app.add_option("RUN", options.run, "A run's folder, such as runs/quickstart, or a checkpoint")->required();
  auto* prompt =
      app.add_option("--prompt", options.prompt, "Text to continue [empty: begin as after the end of a line]")
          ->type_name("TEXT");
  app.add_option("--prompt-file", options.prompt_file, "The same from a file")
      ->type_name("FILE")
      ->excludes(prompt);
  app.add_option("--tokens", options.tokens, "Tokens to add, 1 or more")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, most).description(""))
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature,
                 "0 or more; 0 takes the most likely token, 1 samples as the model says")
      ->type_name("X")
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k,
                 "Choose among the K most likely tokens, 1 or more; a large K keeps all")
      ->type_name("K")
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "… and of these among the fewest that have the probability P together, above 0 up to 1")
      ->type_name("P")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Of all random choices, 0 or more")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()).description(""))
      ->capture_default_str();
  app.add_option("--samples", options.samples, "Texts, one after the other, 1 or more")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, most).description(""))
      ->capture_default_str();
  app.add_option(
         "--dtype", options.model.dtype,
         "float32 or bfloat16, of weights and arithmetic; the latter reads half as much memory [the run's]")
      ->type_name("DTYPE")
      ->check(CLI::IsMember({"float32", "bfloat16"}).description(""));
  app.add_flag("--stochastic-masks", options.model.stochastic_masks,
               "Keep the noise of NOISE_AND_LINEAR masks, as in training");
  app.add_option("--checkpoint", options.checkpoint, "best, last or a file [best, else last]")
      ->type_name("best|last|FILE");
  app.add_option("--tokenizer", options.tokenizer, "A tokenizer's file, for a run on raw token files")
      ->type_name("FILE");
  app.add_flag("--no-cache", options.no_cache, "Run the whole window for every token: slow, to compare with");
  return ld::run_program(app, argc, argv, [&] { return sample(options); });
}
