#include "training/run_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "training/safe_file.h"

namespace ld {
namespace {

using nlohmann::json;

// The numbers by which an estimate is told from a step, in a line and in an event.
constexpr std::string_view val_loss_key = "val_loss", val_loss_tag = "val/loss";

bool is_covered(const RunState& state, int64_t step, bool is_estimate) {
  return step <= (is_estimate ? state.estimated_step : state.step);
}

std::string covered_lines(const std::string& path, const RunState& state) {
  std::string kept;
  std::ifstream old(path);
  for (std::string line; std::getline(old, line);) {
    const json entry = json::parse(line, nullptr, false);
    if (!entry.is_object() || !entry.value("step", json()).is_number_integer()) continue;
    if (is_covered(state, entry.at("step"), entry.contains(val_loss_key))) kept += line + "\n";
  }
  return kept;
}

// A millionth is finer than a mask of thousands of elements can tell, and keeps the lines short.
std::vector<double> rounded(std::vector<double> fractions) {
  for (double& fraction : fractions) fraction = std::round(fraction * 1e6) / 1e6;
  return fractions;
}

}  // namespace

RunLog::RunLog(const RunFolder& folder, const RunConfig& config, const RunState& state)
    : path_(folder.metrics()),
      model_(config.model_config),
      mask_names_(learned_dropout_names(model_)),
      layers_interval_(std::max<int64_t>(1, config.train_steps / 1000)),
      events_(folder.path()) {
  cut_event_files(folder.path(), [&](int64_t step, std::string_view event) {
    return is_covered(state, step, event.find(val_loss_tag) != event.npos);
  });
  write_file(path_, covered_lines(path_, state));
  lines_.open(path_, std::ios::app);
  check(lines_.is_open(), path_, ": cannot be written; choose another folder with --out");
}

void RunLog::write_step(int64_t step, const StepMetrics& metrics) {
  json line = {{"step", step}};
  std::vector<Scalar> scalars;
  for (const LoggedNumber& number : logged_numbers(metrics, model_, step)) {
    line[number.key] = number.value;
    scalars.push_back({number.tag, number.value});
  }
  for (const LoggedLayers& layers : logged_layers(metrics)) {
    line["layers"][layers.key] = rounded(layers.values);
    if (step % layers_interval_ != 0) continue;
    for (size_t i = 0; i < layers.values.size(); ++i)
      scalars.push_back({fmt::format("{}/{}", layers.tag, mask_names_[i]), layers.values[i]});
  }
  write_line(line.dump());
  events_.write(step, scalars);
}

void RunLog::write_estimate(int64_t step, const Estimate& train, const Estimate& val) {
  const json line = {{"step", step},
                     {"train_loss", train.loss},
                     {val_loss_key, val.loss},
                     {"train_error_rate", train.error_rate},
                     {"val_error_rate", val.error_rate}};
  write_line(line.dump());
  events_.write(step, {{std::string(val_loss_tag), val.loss},
                       {"val/error_rate", val.error_rate},
                       {"train/estimated_loss", train.loss},
                       {"train/estimated_error_rate", train.error_rate}});
}

void RunLog::write_line(const std::string& line) {
  lines_ << line << '\n' << std::flush;
  check(lines_.good(), path_, ": cannot be written; is the disk full? Make room, then --resume");
}

}  // namespace ld
