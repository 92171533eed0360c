#include "training/saved_model.h"

#include <filesystem>

#include "training/data_info.h"
#include "training/run_folder.h"
#include "training/safetensors.h"

namespace ld {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::string find_checkpoint(const std::string& run, const std::string& choice) {
  if (fs::is_regular_file(run)) {
    check(choice.empty(), run, ": is a checkpoint itself; leave --checkpoint out, or give the run's folder");
    return run;
  }
  check(fs::is_directory(run), run, ": no such run; give a run's folder, such as runs/quickstart after ",
        "./train configs/quickstart.toml");
  if (!choice.empty() && choice != "best" && choice != "last") {
    check(fs::is_regular_file(choice), choice, ": no such checkpoint; give best, last or a file");
    return choice;
  }
  const std::string best = run + "/best.safetensors", last = run + "/last.safetensors";
  check(fs::exists(best) || fs::exists(last), run,
        ": holds no checkpoint; a run saves its first after checkpoint_interval steps");
  if (choice.empty()) return fs::exists(best) ? best : last;
  const std::string& path = choice == "best" ? best : last;
  check(fs::exists(path), path, ": is not there yet; leave --checkpoint out to take the other one");
  return path;
}

std::string folder_of(const std::string& run) {
  if (fs::is_directory(run)) return run;
  const std::string folder = fs::path(run).parent_path().string();
  return folder.empty() ? "." : folder;
}

SavedModel::SavedModel(const std::string& checkpoint, const SavedModelOptions& options) {
  const SafetensorsFile file(checkpoint);
  config = parse_run_config(file.metadata("config"), checkpoint + " (its config)");
  step = static_cast<int64_t>(file.number("step"));
  best_val_loss = file.number("best_val_loss");
  if (!options.dtype.empty() && options.dtype != config.dtype) {
    check(config.dtype != "float64", checkpoint, ": holds float64 weights, which compute in float64 only; ",
          "leave --dtype out");
    config.dtype = options.dtype;
  }
  if (options.stochastic_masks) {
    auto& dropout = config.model_config.learned_dropout_config;
    check(dropout.has_value(), checkpoint, ": its model has no masks that could be stochastic; ",
          "leave --stochastic-masks out");
    check(dropout->mask_rounding_type == MaskRounding::noise_and_linear, checkpoint,
          ": its masks are not rounded with noise (mask_rounding_type is not NOISE_AND_LINEAR); ",
          "leave --stochastic-masks out");
    dropout->use_noise_at_inference = true;
  }
  config.model_config.keep_attention_dropout_in_evaluation = false;  // a switch for losses, not for texts
  model.emplace(config.model_config, config.model_dtype(), std::nullopt);
  for (const Parameter& parameter : model->parameters().all()) {
    file.read_into(parameter.name, parameter.master);
    parameter.renew_copy();
  }
}

std::optional<Tokenizer> tokenizer_of(const RunConfig& config, const std::string& folder,
                                      const std::string& file) {
  std::string path = file;
  if (path.empty() && fs::exists(tokenizer_in(folder))) path = tokenizer_in(folder);
  if (path.empty()) {
    const auto info = read_data_info(config.data);
    if (!info || !info->tokenizer_path) return std::nullopt;
    path = *info->tokenizer_path;
    check(fs::exists(path), path, ": is not there, though ", config.data,
          ".toml names it as the data's tokenizer; prepare the data again, or give --tokenizer FILE");
  }
  Tokenizer tokenizer = Tokenizer::read(path);
  check(tokenizer.vocabulary_size() <= config.model_config.alphabet_size, path, ": has ",
        tokenizer.vocabulary_size(), " tokens and the model ", config.model_config.alphabet_size,
        ", so it is not the one of the run's data; give that one with --tokenizer FILE");
  return tokenizer;
}

}  // namespace ld
