// What the config tests share: configs written as text, and the errors they cause.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/error.h"
#include "training/run_config.h"

namespace ld::config_text {

/// A config file that disappears with the test. Names are unique, as test programs may run side by side.
class TempConfig {
 public:
  explicit TempConfig(const std::string& text) {
    static int count = 0;
    const std::string name =
        "ld_config_" + std::to_string(getpid()) + "_" + std::to_string(count++) + ".toml";
    path_ = (std::filesystem::temp_directory_path() / name).string();
    std::ofstream(path_) << text;
  }
  ~TempConfig() { std::filesystem::remove(path_); }
  TempConfig(const TempConfig&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline RunConfig read(const std::string& text, const std::vector<std::string>& overrides = {},
                      const std::vector<std::string>& removals = {}) {
  const TempConfig file(text);
  return read_run_config(file.path(), overrides, removals);
}

/// The message of the error that reading causes, with the path of the file written as FILE; "" if none.
inline std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {},
                            const std::vector<std::string>& removals = {}) {
  const TempConfig file(text);
  try {
    read_run_config(file.path(), overrides, removals);
  } catch (const Error& error) {
    std::string message = error.what();
    if (message.starts_with(file.path())) message.replace(0, file.path().size(), "FILE");
    return message;
  }
  return "";
}

/// A valid config, in which the first `from` is replaced by `to`. Its line numbers appear in the errors
/// tested.
inline std::string minimal_with(const std::string& from = "", const std::string& to = "") {
  std::string text =
      "train_steps = 100\n"                      // line 1
      "batch_size = 4\n"                         // 2
      "lr = 0.01\n"                              // 3
      "warmup_iters = 10\n"                      // 4
      "[model_config]\n"                         // 5
      "context_size = 8\n"                       // 6
      "n_embed = 12\n"                           // 7
      "n_head = 2\n"                             // 8
      "n_layer = 3\n"                            // 9
      "use_dropout_l1_norm_penalty = true\n"     // 10
      "[model_config.learned_dropout_config]\n"  // 11
      "dropout_input_type = \"EMBED\"\n"         // 12
      "mask_rounding_type = \"SIGMOID\"\n"       // 13
      "n_head = 3\n";                            // 14
  if (from.empty()) return text;
  const size_t place = text.find(from);
  REQUIRE(place != std::string::npos);
  return text.replace(place, from.size(), to);
}

inline std::string error_with(const std::string& from, const std::string& to) {
  return error_of(minimal_with(from, to));
}

}  // namespace ld::config_text
