// The folder of a run:
//   config.toml              the resolved config
//   metrics.jsonl            a line per step and per estimate
//   events.out.tfevents.*    the same for TensorBoard, a file for each time the run was started
//   tokenizer                a copy of the data's, if there is one
//   last.safetensors         everything needed to go on, from at most checkpoint_interval steps ago
//   best.safetensors         the same at the lowest validation loss so far
//   lock                     held, and the process number in it, by the one process that trains here
#pragma once

#include <string>

namespace ld {

enum class RunStart { fresh, resume, overwrite };

inline std::string tokenizer_in(const std::string& folder) { return folder + "/tokenizer"; }

class RunFolder {
 public:
  /// Makes the folder, locks it until this object goes, and removes what a killed run was in the middle of
  /// writing. `fresh` refuses a folder that holds a run, `resume` one that holds none; all refuse a folder
  /// in which another process trains.
  RunFolder(const std::string& path, RunStart start);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// Once it is known that another one can begin.
  void remove_run() const;

  const std::string& path() const { return path_; }
  std::string config() const { return path_ + "/config.toml"; }
  std::string metrics() const { return path_ + "/metrics.jsonl"; }
  std::string tokenizer() const { return tokenizer_in(path_); }
  std::string last() const { return path_ + "/last.safetensors"; }
  std::string best() const { return path_ + "/best.safetensors"; }

 private:
  void lock();
  void remove_unfinished() const;

  std::string path_;
  int lock_ = -1;  // descriptor of the lock file
};

}  // namespace ld
