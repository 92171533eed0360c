#include "training/checkpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "training/safetensors.h"

namespace ld {
namespace {

constexpr const char* format = "learned-dropout checkpoint 1";
constexpr const char* first_moment = "optimizer.m.";
constexpr const char* second_moment = "optimizer.v.";
constexpr const char* decisions_prefix = "decisions.";

// The config as far as it decides what the numbers will be, a line per key.
std::string decisive_config(RunConfig config) {
  config.train_steps = 1;
  config.est_interval = config.est_steps = config.checkpoint_interval = 1;
  config.data = "anywhere";  // DataFingerprint knows it better
  config.sample_tokens = 0;
  std::istringstream text(to_toml(config));
  std::string lines;
  for (std::string line; std::getline(text, line);)
    if (!line.empty() && line[0] != '#') lines += line + '\n';
  return lines;
}

void refuse_other_config(const std::string& path, const std::string& saved_lines,
                         const std::string& our_lines) {
  std::istringstream saved(saved_lines), ours(our_lines);
  for (;;) {
    std::string theirs = "nothing", mine = "nothing";
    const bool more_saved = static_cast<bool>(std::getline(saved, theirs));
    const bool more_ours = static_cast<bool>(std::getline(ours, mine));
    if (!more_saved && !more_ours) return;
    check(theirs == mine, path, ": was made with another config: there \"", theirs, "\", here \"", mine,
          "\"; resume with that one (--steps N trains further), or start another run with --out");
  }
}

void refuse_other_data(const SafetensorsFile& file, const std::string& path, const DataFingerprint& data) {
  const std::pair<const char*, const std::string&> parts[] = {{"train", data.train}, {"val", data.val}};
  for (const auto& [part, ours] : parts) {
    const std::string& saved = file.metadata(fmt::format("{}_data", part));
    check(saved == ours, path, ": was made with other data: its ", part, " file had ", saved, ", now it has ",
          ours, "; put the old files back, or start another run with --out");
  }
}

}  // namespace

void save_checkpoint(const std::string& path, const RunConfig& config, const DataFingerprint& data,
                     const Parameters& parameters, const AdamW& optimizer, const RunState& state) {
  std::vector<NamedTensor> tensors;
  nlohmann::json updates;
  for (size_t k = 0; k < parameters.all().size(); ++k) {
    const Parameter& parameter = parameters.all()[k];
    const AdamW::Moments& moments = optimizer.moments()[k];
    tensors.push_back({parameter.name, parameter.master});
    if (!moments.m) continue;
    tensors.push_back({first_moment + parameter.name, moments.m});
    tensors.push_back({second_moment + parameter.name, moments.v});
    updates[parameter.name] = moments.updates;
  }
  for (size_t i = 0; i < state.decisions.size(); ++i)
    tensors.push_back({decisions_prefix + std::to_string(i), state.decisions[i]});
  write_safetensors(path, tensors,
                    {{"format", format},
                     {"step", std::to_string(state.step)},
                     {"best_val_loss", fmt::format("{:.17g}", state.best_val_loss)},
                     {"best_step", std::to_string(state.best_step)},
                     {"device", device_in_words()},
                     {"estimated_step", std::to_string(state.estimated_step)},
                     {"optimizer_updates", updates.dump()},
                     {"train_data", data.train},
                     {"val_data", data.val},
                     {"config", to_toml(config)},
                     {"decisive_config", decisive_config(config)}});
}

RunState load_checkpoint(const std::string& path, const RunConfig& config, const DataFingerprint& data,
                         const Parameters& parameters, AdamW& optimizer) {
  const SafetensorsFile file(path);
  check(file.metadata("format") == format, path, ": is a \"", file.metadata("format"),
        "\", and this program reads \"", format,
        "\"; use the program that wrote it, or start another run with --out");
  refuse_other_config(path, file.metadata("decisive_config"), decisive_config(config));
  refuse_other_data(file, path, data);
  try {
    const auto updates = nlohmann::json::parse(file.metadata("optimizer_updates"));
    for (size_t k = 0; k < parameters.all().size(); ++k) {
      const Parameter& parameter = parameters.all()[k];
      file.read_into(parameter.name, parameter.master);
      parameter.renew_copy();
      if (!updates.contains(parameter.name)) continue;  // it has received no gradient yet
      AdamW::Moments& moments = optimizer.moments()[k];
      MemoryScope scope(MemoryUse::optimizer);
      moments = {Tensor::like(parameter.master), Tensor::like(parameter.master), updates.at(parameter.name)};
      file.read_into(first_moment + parameter.name, moments.m);
      file.read_into(second_moment + parameter.name, moments.v);
    }
    auto count = [&](const char* key) { return static_cast<int64_t>(file.number(key)); };
    RunState state{.step = count("step"),
                   .best_val_loss = file.number("best_val_loss"),
                   .best_step = count("best_step"),
                   .estimated_step = count("estimated_step"),
                   .device = file.metadata("device", "")};
    for (size_t i = 0; file.contains(decisions_prefix + std::to_string(i)); ++i)
      state.decisions.push_back(file.read(decisions_prefix + std::to_string(i)));
    return state;
  } catch (const nlohmann::json::exception& error) {
    fail(path, ": its metadata is damaged (", error.what(), "); use another checkpoint");
  }
}

}  // namespace ld
