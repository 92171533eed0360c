// make bench: how fast one training step is (forward, backward, AdamW) on synthetic tokens, where its time
// goes, and, given a Python that has torch, the same model in PyTorch in turn with ours:
//   make bench                                         the published models, one after the other
//   make bench BENCH="--model small --dtype bfloat16 --variant embed --python python3 --json small.json"
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>

#include "autograd/trace.h"
#include "bench/machine.h"
#include "bench/models.h"
#include "bench/rival.h"
#include "engine/gemm.h"
#include "engine/graph.h"
#include "engine/memory.h"
#include "engine/staging.h"
#include "engine/threads.h"
#include "model/transformer.h"
#include "training/command_line.h"
#include "training/optimizer.h"
#include "training/text.h"

namespace {

using namespace ld;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

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

/// Seconds that this process has spent computing, all threads together: on a machine that others use too,
/// what a step costs is seen better here than on the clock.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// The step that is timed. As in the trainer, on a GPU forward and backward are one CUDA graph, once the pool is
/// warm.
class Training {
 public:
  explicit Training(const BenchOptions& o)
      : model_(model_config(o), o.in_bfloat16() ? DType::bfloat16 : DType::float32, 1337),
        optimizer_(model_.parameters(), {}),
        vocabulary_(static_cast<uint32_t>(sizes_of(o).alphabet_size)),
        shape_{sizes_of(o).batch_size, sizes_of(o).context_size},
        tokens_(Tensor({2, shape_[0], shape_[1]}, DType::int32)),
        place_(Tensor({2}, DType::int32)),
        one_(Tensor::scalar(1, model_.parameters().master_dtype())) {}

  double step() {
    load_batch();
    return seconds_of([&] {
      if (step_ < warm_up)
        forward_and_backward();
      else
        graphs_.run(0, [&] { forward_and_backward(); });
      optimizer_.step(1e-4);
      ++step_;
    });
  }
  static constexpr uint32_t warm_up = 2;  // steps

  /// Milliseconds per kind of op in one step, forward and backward together.
  std::map<std::string, double> by_op() {
    load_batch();
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
  /// Why there are no CUDA graphs, if there should be.
  std::string obstacle() const { return graphs_.obstacle(); }

 private:
  void load_batch() {
    const NoiseKey key{.seed = 1337, .step = step_};
    auto* ids = tokens_.open<int32_t>();
    for (int64_t i = 0; i < tokens_.target().elements(); ++i)
      ids[i] = static_cast<int32_t>(key.bits(0, i) % vocabulary_);
    tokens_.send();
    *place_.open<NoisePlace>() = {step_, 0};
    place_.send();
  }

  void forward_and_backward() {
    model_.parameters().zero_gradients();
    const Tensor ids = tokens_.target().part(0, shape_),
                 targets = tokens_.target().part(shape_.elements(), shape_);
    const NoiseKey key{
        .seed = 1337, .step = step_, .place = static_cast<const NoisePlace*>(place_.target().raw())};
    Tape tape;
    tape.backward(model_(ids, targets, {.training = true, .noise = key}).loss, one_);
  }

  Transformer model_;
  AdamW optimizer_;
  uint32_t vocabulary_;
  Shape shape_;     // (B, T)
  Staging tokens_;  // (2, B, T): ids and targets
  Staging place_;   // (2): a NoisePlace
  Tensor one_;      // the gradient of the loss
  Graphs graphs_;
  uint32_t step_ = 0;
};

/// GFLOP/s of the largest matrix product of the model, the logits of 400 rows: what the library can do here,
/// with a vocabulary that is a multiple of 32 as it likes it. Several at a time, so that a GPU need not wait.
template <class T>
double matrix_ceiling(const Sizes& s) {
  const int64_t m = 400, n = (s.alphabet_size + 31) / 32 * 32, k = s.n_embed;
  Tensor a = Tensor::zeros({m, k}, dtype_of<T>()), b = Tensor::zeros({n, k}, dtype_of<T>()),
         c({m, n}, dtype_of<T>());
  constexpr int together = 4;
  std::vector<double> seconds;
  for (int i = 0; i < 3; ++i)
    seconds.push_back(seconds_of([&] {
      for (int j = 0; j < together; ++j)
        gemm<T>(m, n, k, {a.data<T>(), k}, {b.data<T>(), k, Transpose::yes},
                Accumulator<T>{c.data<T>(), true}, n);
    }));
  return 2e-9 * static_cast<double>(m * n * k * together) / median(seconds);
}

/// The most memory that was taken: of the machine, or on a GPU of the device.
int64_t peak_bytes() {
#ifdef ENGINE_GPU
  return memory_report().held;
#else
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
#endif
}

void print_by_op(const std::map<std::string, double>& by_op) {
  std::vector<std::pair<double, std::string>> sorted;
  double total = 0;
  for (const auto& [name, ms] : by_op) sorted.emplace_back(ms, name), total += ms;
  std::sort(sorted.rbegin(), sorted.rend());
  for (const auto& [ms, name] : sorted)
    fmt::print("  {:<18}{:8.1f} ms  {:5.1f} %\n", name, ms, 100 * ms / total);
}

/// median of x[i] / y[i]: rounds in turn, for the clock changes from one to the next.
double median_ratio(const std::vector<double>& x, const std::vector<double>& y) {
  std::vector<double> ratios;
  for (size_t i = 0; i < x.size(); ++i) ratios.push_back(x[i] / y[i]);
  return median(ratios);
}

/// What MFU is a share of; 0 where nobody knows.
double peak_gflops(const BenchOptions& o) {
  if (o.peak_tflops > 0) return 1e3 * o.peak_tflops;
  return 1e3 * peak_tflops(device_description(), o.in_bfloat16()).value_or(0);
}

json run(const BenchOptions& o) {
  require_device();
  const Sizes s = sizes_of(o);
  const auto tokens = static_cast<double>(s.batch_size * s.context_size);
  Training training(o);
  fmt::print("{} {} {}  {} parameters  batch {} x {}  {}\n", o.model, o.variant, o.dtype,
             grouped(training.parameters()), s.batch_size, s.context_size, device_in_words());
  for (uint32_t i = 0; i <= Training::warm_up; ++i) training.step();
  if (!training.obstacle().empty()) fmt::print("without CUDA graphs: {}\n", training.obstacle());

  std::vector<double> ours, ours_cpu, ceilings;
  int64_t peak = 0;
  std::vector<Rival> rivals;
  if (!o.python.empty()) rivals.push_back({"PyTorch, eager", false});
  if (o.compile) rivals.push_back({"PyTorch, compiled", true});
  auto print_round = [&](int round, const char* who, double seconds, double cpu) {
    fmt::print("round {}  {:<17} {:8.1f} ms a step  {:>7} tokens/s  {:8.1f} ms of all processors\n",
               round + 1, who, 1e3 * seconds, grouped(std::lround(tokens / seconds)), 1e3 * cpu);
    std::fflush(stdout);
  };
  for (int round = 0; round < o.rounds; ++round) {
    std::vector<double> seconds;
    const double cpu_before = cpu_seconds();
    for (int i = 0; i < o.steps; ++i) seconds.push_back(training.step());
    ours.push_back(median(seconds));
    ours_cpu.push_back((cpu_seconds() - cpu_before) / o.steps);
    print_round(round, "ours", ours.back(), ours_cpu.back());
    if (round == 0) peak = peak_bytes();  // before the ceiling takes memory of its own
    ceilings.push_back(o.in_bfloat16() ? matrix_ceiling<bfloat16>(s) : matrix_ceiling<float>(s));
    for (Rival& rival : rivals) {
      if (!rival.failure.empty()) continue;
      rival.round(o);
      if (rival.failure.empty())
        print_round(round, rival.name, rival.seconds.back(), rival.cpu.back());
      else
        fmt::print("{}: {}\n", rival.name, rival.failure);
    }
  }
  std::erase_if(rivals, [](const Rival& rival) { return !rival.failure.empty(); });
  const double step = median(ours), flop = tokens * flop_per_token(o) * 1e-9;
  std::vector<double> gflops;
  for (double seconds : ours) gflops.push_back(flop / seconds);
  const double share = median_ratio(gflops, ceilings), peak_rate = peak_gflops(o);
  fmt::print("median   {:.1f} ms a step, {} tokens/s, peak memory {}\n", 1e3 * step,
             grouped(std::lround(tokens / step)), bytes_text(peak));
  fmt::print(
      "         {:.0f} GFLOP/s ({:.1f} MFLOP a token): {:.0f} % of what matrix products alone reach here, {:.0f}\n",
      flop / step, 1e-6 * flop_per_token(o), 100 * share, median(ceilings));
  if (peak_rate > 0)
    fmt::print("         MFU {:.1f} %, of {:.3g} TFLOP/s\n", 100 * flop / step / peak_rate, 1e-3 * peak_rate);
  for (const Rival& rival : rivals)
    fmt::print("         {:.2f} times as fast as {} ({}), with {:.2f} of its processor time\n",
               median_ratio(rival.seconds, ours), rival.name, rival.last.value("torch", ""),
               median_ratio(ours_cpu, rival.cpu));
  const auto by_op = training.by_op();
  print_by_op(by_op);

  json result = {{"model", o.model},           {"variant", o.variant},
                 {"dtype", o.dtype},           {"parameters", training.parameters()},
                 {"batch_size", s.batch_size}, {"context_size", s.context_size},
                 {"median_s", step},           {"rounds_s", ours},
                 {"rounds_cpu_s", ours_cpu},   {"tokens_per_s", tokens / step},
                 {"peak_bytes", peak},         {"mflop_per_token", 1e-6 * flop_per_token(o)},
                 {"gflops", flop / step},      {"rounds_ceiling_gflops", ceilings},
                 {"share_of_ceiling", share},  {"ms_by_op", by_op}};
  if (peak_rate > 0) result["peak_gflops"] = peak_rate, result["mfu"] = flop / step / peak_rate;
  for (const Rival& rival : rivals)
    result[rival.compile ? "pytorch_compiled" : "pytorch"] = {{"ratio", median_ratio(rival.seconds, ours)},
                                                              {"rounds_s", rival.seconds},
                                                              {"rounds_cpu_s", rival.cpu},
                                                              {"last", rival.last}};
  return result;
}

/// run(o) in a process of its own, so that one variant's peak of memory is not the next one's.
json run_apart(const BenchOptions& o) {
  int ends[2];
  check(pipe(ends) == 0, "bench: no pipe");
  std::fflush(stdout);
  const pid_t child = fork();
  check(child >= 0, "bench: no process");
  if (child == 0) {
    int status = 1;
    try {
      const std::string text = run(o).dump();
      status = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1;
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    std::fflush(stdout);
    _exit(status);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  check(status == 0, "bench: ", o.variant, " was not measured");
  return json::parse(text);
}

void run_all(const BenchOptions& o) {
  // Before the minutes of measuring.
  if (!o.json_file.empty())
    check(std::ofstream(o.json_file, std::ios::app).good(), o.json_file, ": cannot write this file");
  json results = json::array();
  for (const char* variant : {"hidden_state", "embed", "baseline"}) {
    if (o.variant != "all" && o.variant != variant) continue;
    BenchOptions one = o;
    one.variant = variant;
    results.push_back(run_apart(one));
  }
  if (o.json_file.empty()) return;
  std::ofstream file(o.json_file);
  file << json{{"machine", machine()}, {"results", results}}.dump(2) << '\n';
  check(file.good(), o.json_file, ": cannot write this file");
}

}  // namespace

int main(int argc, char** argv) {
  ld::wait_politely(argv);
  BenchOptions o;
  CLI::App app("Times a training step on synthetic tokens.", "bench");
  app.get_formatter()->column_width(28);
  const CLI::Validator at_least_one = CLI::Range(1, 1000000).description("");
  app.add_option("--variant", o.variant, "LearnedDropout's mask input, or no LearnedDropout")
      ->check(CLI::IsMember({"all", "hidden_state", "embed", "baseline"}))
      ->capture_default_str();
  app.add_option(
         "--model", o.model,
         "published: L 26, C 144 (baseline 156), T 200, V 50257; small: L 4, C 64, T 64, V 256, batch "
         "16; gpt2: L 12, C 768, T 64, V 50257; gpt2_1024: the same with T 1024")
      ->check(CLI::IsMember({"published", "small", "gpt2", "gpt2_1024"}))
      ->capture_default_str();
  app.add_option("--dtype", o.dtype, "Of weights and arithmetic; PyTorch's is autocast")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--batch-size", o.batch_size,
                 fmt::format("Sequences a step [published {}, small 16, gpt2 4]", batch_of_published))
      ->check(at_least_one);
  app.add_option("--steps", o.steps, "Timed steps a round; the median counts")
      ->check(at_least_one)
      ->capture_default_str();
  app.add_option("--rounds", o.rounds, "Rounds")->check(at_least_one)->capture_default_str();
  auto* python = app.add_option("--python", o.python,
                                "A Python with torch: times the same model in PyTorch after every round");
  app.add_flag("--compile", o.compile, "… and once more through torch.compile")->needs(python);
  app.add_option("--peak-tflops", o.peak_tflops,
                 "What MFU is a share of [the data sheet's, of an H100, H200 or A100]")
      ->check(CLI::Range(1e-3, 1e6).description(""));
  app.add_option("--json", o.json_file, "Also write the results, with processor, versions and commit")
      ->type_name("FILE");
  return ld::run_program(app, argc, argv, [&] { return run_all(o), 0; });
}
