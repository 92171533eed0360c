// The same model in PyTorch, timed in turn with ours, in a process of its own.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/models.h"

namespace ld {

struct Rival {
  const char* name;
  bool compile;  // by torch.compile
  std::vector<double> seconds = {}, cpu = {};
  nlohmann::json last = {};  // what its newest round said of itself
  std::string failure = {};  // of a round; then none of them counts

  /// One more round. What goes wrong is kept as `failure`: our own figures are not to be lost with it.
  void round(const BenchOptions& o) {
    const Sizes s = sizes_of(o);
    const std::string command = fmt::format(
        "{} bench/pytorch_train.py --variant {} --n-embed {} --n-head {} --n-layer {} --context-size {} "
        "--alphabet-size {} --batch-size {} --steps {} --device {} --dtype {}{} 2>&1",
        o.python, o.variant, s.n_embed, s.n_head, s.n_layer, s.context_size, s.alphabet_size, s.batch_size,
        o.steps, std::string(device_name()) == "cpu" ? "cpu" : "cuda", o.dtype, compile ? " --compile" : "");
    int status = 0;
    const std::string output = output_of(command, status);
    const size_t begin = output.rfind("\n{") + 1;  // of its one line of JSON, which warnings may follow
    last = nlohmann::json::parse(output.substr(begin, output.find('\n', begin) - begin), nullptr, false);
    if (status != 0 || !last.is_object()) {
      failure = fmt::format("{}; this did not succeed: {}", output.substr(output.rfind('\n') + 1), command);
      return;
    }
    seconds.push_back(last.at("median_s"));
    cpu.push_back(last.at("own_cpu_s_per_step"));
  }
};

}  // namespace ld
