// make bench: how fast one training step is (forward, backward, AdamW) on synthetic tokens, where its time
// goes, and, given a Python that has torch, the same model in PyTorch in turn with ours:
//   make bench BENCH="--variant embed --batch-size 10 --python python3"
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "autograd/trace.h"
#include "engine/gemm.h"
#include "engine/threads.h"
#include "model/transformer.h"
#include "training/optimizer.h"
#include "training/text.h"

namespace {

using namespace ld;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string variant = "embed", dtype = "float32", python, out;
  int64_t batch_size = 4, n_layer = 26, context_size = 200, alphabet_size = 50257;
  int64_t n_embed = 0, n_head = 0;  // 0: the published width and heads of the variant
  int steps = 10, rounds = 3;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  synchronize();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

ModelConfig model_config(const Options& o) {
  const bool baseline = o.variant == "baseline";
  ModelConfig config;
  config.alphabet_size = o.alphabet_size;
  config.context_size = o.context_size;
  config.n_embed = o.n_embed ? o.n_embed : baseline ? 156 : 144;
  config.n_head = o.n_head ? o.n_head : baseline ? 12 : 9;
  config.n_layer = o.n_layer;
  if (baseline) return config;
  const bool embed = o.variant == "embed";
  LearnedDropoutConfig& dropout = config.learned_dropout_config.emplace();
  dropout.dropout_input_type = embed ? DropoutInput::embed : DropoutInput::hidden_state;
  dropout.mask_rounding_type = MaskRounding::noise_and_linear;
  dropout.n_head = config.n_head;
  dropout.use_detached_input = embed;
  config.use_dropout_l1_norm_penalty = true;
  return config;
}

/// The step that is timed.
class Training {
 public:
  explicit Training(const Options& o)
      : model_(model_config(o), o.dtype == "bfloat16" ? DType::bfloat16 : DType::float32, 1337),
        optimizer_(model_.parameters(), {}),
        options_(o) {}

  double step() {
    return seconds_of([&] {
      model_.parameters().zero_gradients();
      forward_and_backward();
      optimizer_.step(1e-4);
      ++step_;
    });
  }

  /// Milliseconds per kind of op in one step, forward and backward together.
  std::map<std::string, double> by_op() {
    model_.parameters().zero_gradients();
    std::map<std::string, double> ms;
    {
      TapeTrace trace;
      forward_and_backward();
      for (size_t i = 0; i < trace.measured().size(); ++i)
        ms[trace.log().ops()[i].name] +=
            trace.measured()[i].forward_ms + trace.measured()[i].backward_ms.value_or(0);
    }
    ms["adamw"] = 1e3 * seconds_of([&] { optimizer_.step(1e-4); });
    return ms;
  }

  int64_t parameters() const { return model_.parameter_count(); }

 private:
  void forward_and_backward() {
    const NoiseKey key{.seed = 1337, .step = step_};
    std::vector<int32_t> ids, targets;
    for (int64_t i = 0; i < options_.batch_size * options_.context_size; ++i) {
      ids.push_back(static_cast<int32_t>(key.bits(0, i) % static_cast<uint32_t>(options_.alphabet_size)));
      targets.push_back(static_cast<int32_t>(key.bits(1, i) % static_cast<uint32_t>(options_.alphabet_size)));
    }
    const Shape shape{options_.batch_size, options_.context_size};
    Tape tape;
    tape.backward(
        model_(Tensor::from(ids, shape), Tensor::from(targets, shape), {.training = true, .noise = key})
            .loss);
  }

  Transformer model_;
  AdamW optimizer_;
  Options options_;
  uint32_t step_ = 0;
};

/// GFLOP/s of the largest matrix product of the model, the logits of 400 rows: what the library can do here.
double matrix_ceiling(const Options& o) {
  const int64_t m = 400, n = o.alphabet_size, k = model_config(o).n_embed;
  Tensor a = Tensor::zeros({m, k}, DType::float32), b = Tensor::zeros({n, k}, DType::float32),
         c({m, n}, DType::float32);
  std::vector<double> seconds;
  for (int i = 0; i < 8; ++i)
    seconds.push_back(seconds_of([&] {
      gemm<float>(m, n, k, {a.data<float>(), k}, {b.data<float>(), k, Transpose::yes},
                  {c.data<float>(), true}, n);
    }));
  return 2e-9 * static_cast<double>(m * n * k) / median(seconds);
}

/// The PyTorch step of the same model, in a process of its own; its last line of output is JSON.
json pytorch(const Options& o) {
  const ModelConfig config = model_config(o);
  const std::string command = fmt::format(
      "{} bench/pytorch_train.py --variant {} --n-embed {} --n-head {} --n-layer {} --context-size {} "
      "--alphabet-size {} --batch-size {} --steps {} --device {} 2>/dev/null",
      o.python, o.variant, config.n_embed, config.n_head, config.n_layer, o.context_size, o.alphabet_size,
      o.batch_size, o.steps, std::string(device_name()) == "cpu" ? "cpu" : "cuda");
  FILE* pipe = popen(command.c_str(), "r");
  check(pipe != nullptr, "bench: cannot run ", o.python);
  std::string line, last;
  for (int c; (c = std::fgetc(pipe)) != EOF;)
    if (c == '\n')
      last = std::exchange(line, "");
    else
      line += static_cast<char>(c);
  check(pclose(pipe) == 0, "bench: this did not succeed: ", command, "; does that Python have torch?");
  return json::parse(last);
}

void run(const Options& o) {
  require_device();
  const auto tokens = static_cast<double>(o.batch_size * o.context_size);
  Training training(o);
  fmt::print("{}  {} parameters  batch {} x {}  {}: {}\n", o.variant, grouped(training.parameters()),
             o.batch_size, o.context_size, device_name(), device_description());
  for (int i = 0; i < 2; ++i) training.step();

  std::vector<double> ours, theirs;
  json torch;
  for (int round = 0; round < o.rounds; ++round) {
    std::vector<double> seconds;
    for (int i = 0; i < o.steps; ++i) seconds.push_back(training.step());
    ours.push_back(median(seconds));
    fmt::print("round {}  ours     {:8.1f} ms a step  {:>7} tokens/s\n", round + 1, 1e3 * ours.back(),
               grouped(std::lround(tokens / ours.back())));
    std::fflush(stdout);
    if (o.python.empty()) continue;
    torch = pytorch(o);
    theirs.push_back(torch.at("median_s"));
    fmt::print("round {}  PyTorch  {:8.1f} ms a step  {:>7} tokens/s   ratio {:.2f}\n", round + 1,
               1e3 * theirs.back(), grouped(std::lround(tokens / theirs.back())),
               theirs.back() / ours.back());
    std::fflush(stdout);
  }
  const double step = median(ours), ceiling = matrix_ceiling(o);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "median   {:.1f} ms a step, {} tokens/s, peak memory {}; matrix products alone reach {:.0f} GFLOP/s "
      "here\n",
      1e3 * step, grouped(std::lround(tokens / step)), bytes_text(usage.ru_maxrss * 1024), ceiling);

  const auto by_op = training.by_op();
  std::vector<std::pair<double, std::string>> sorted;
  double total = 0;
  for (const auto& [name, ms] : by_op) sorted.emplace_back(ms, name), total += ms;
  std::sort(sorted.rbegin(), sorted.rend());
  for (const auto& [ms, name] : sorted)
    fmt::print("  {:<18}{:8.1f} ms  {:5.1f} %\n", name, ms, 100 * ms / total);

  if (o.out.empty()) return;
  json result = {{"variant", o.variant},
                 {"parameters", training.parameters()},
                 {"device", device_description()},
                 {"batch_size", o.batch_size},
                 {"context_size", o.context_size},
                 {"median_s", step},
                 {"rounds_s", ours},
                 {"tokens_per_s", tokens / step},
                 {"peak_bytes", usage.ru_maxrss * 1024},
                 {"ceiling_gflops", ceiling},
                 {"ms_by_op", by_op}};
  if (!theirs.empty()) result["pytorch"] = {{"rounds_s", theirs}, {"last", torch}};
  std::ofstream file(o.out);
  file << result.dump(2) << '\n';
  check(file.good(), o.out, ": cannot write this file");
}

}  // namespace

int main(int argc, char** argv) {
  ld::wait_politely(argv);
  Options o;
  CLI::App app("Times a training step on synthetic tokens.", "bench");
  app.get_formatter()->column_width(28);
  app.add_option("--variant", o.variant, "")
      ->check(CLI::IsMember({"baseline", "hidden_state", "embed"}))
      ->capture_default_str();
  app.add_option("--dtype", o.dtype, "Of weights and arithmetic")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size, "Sequences a step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--n-embed", o.n_embed, "Width [published: 144, baseline 156]");
  app.add_option("--n-head", o.n_head, "Heads [published: 9, baseline 12]");
  app.add_option("--n-layer", o.n_layer, "Blocks")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--context-size", o.context_size, "Tokens a sequence")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--alphabet-size", o.alphabet_size, "Vocabulary")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", o.steps, "Timed steps a round; the median counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--rounds", o.rounds, "Rounds")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--python", o.python,
                 "A Python with torch: times the same model in PyTorch after every round");
  app.add_option("--out", o.out, "Also write the result as JSON")->type_name("FILE");
  try {
    app.parse(argc, argv);
    run(o);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "bench: {}; see --help\n", error.what());
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
