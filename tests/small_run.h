// A training run that takes a fraction of a second: data, config, folder, and what it has left there.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/temporary_directory.h"
#include "training/data_info.h"
#include "training/trainer.h"

namespace ld {

/// A token file of `n` tokens below 11 that a model can learn: nine in ten follow from the one before.
void write_tokens(const std::string& path, int64_t n, uint64_t seed);

/// data_train.bin and data_val.bin in a directory of their own.
struct SmallData {
  SmallData();
  std::string prefix() const { return directory / "data"; }
  std::string folder(const std::string& name) const { return directory / name; }
  /// Writes data.toml, which raw token files come without.
  void describe(const DataInfo& info) const { directory.file("data.toml", data_info_text(info)); }
  TemporaryDirectory directory;
};

/// What is true of SmallData's files.
inline const DataInfo small_data_info{.vocabulary_size = 11, .train_tokens = 2000, .val_tokens = 300};

/// 12 steps of 2 micro-batches of 3 sequences; estimates and checkpoints every 4. EMBED masks with noise,
/// dropout and a penalty, so that a run draws from every source of randomness.
RunConfig small_run(const SmallData& data);

/// Runs a Trainer from `start`, its lines unseen.
RunEnd train(const RunConfig& config, const std::string& folder, RunStart start = RunStart::fresh,
             int threads = 1);

/// The lines of metrics.jsonl without what differs from run to run, the time.
std::vector<nlohmann::json> metrics_of(const std::string& folder);
/// One scalar of TensorBoard's curves.
struct CurvePoint {
  int64_t step;
  std::string tag;
  float value;
  bool operator==(const CurvePoint&) const = default;
};
/// Everything in the folder's event files, in their order, again without the time.
std::vector<CurvePoint> curves_of(const std::string& folder);
/// "step", or "estimate", and the number, of each line of metrics.jsonl: "step 1", "estimate 4", …
std::vector<std::string> history_of(const std::string& folder);
/// Whether both runs ended alike: checkpoints to the last bit, metrics and curves to the last digit.
void expect_same_end(const std::string& folder, const std::string& expected);

/// This test program once more, in a process of its own, running the test case `name` alone (a skipped one,
/// which only runs so). Its environment holds RUN_DATA and RUN_FOLDER.
class ChildRun {
 public:
  ChildRun(const std::string& name, const SmallData& data, const std::string& folder);
  ~ChildRun();  // kills it if it still runs
  ChildRun(const ChildRun&) = delete;
  ChildRun& operator=(const ChildRun&) = delete;

  /// Waits until the file exists and holds `text` at least `times` times; fails after 60 seconds, or if the
  /// child ends before.
  void wait_for(const std::string& path, const std::string& text = "", int times = 1);
  void send(int signal) const;
  pid_t process() const { return process_; }
  /// Waits for its end: the exit status, or minus the signal that ended it.
  int end();
  /// Where everything goes that it prints.
  const std::string& output() const { return output_; }

 private:
  pid_t process_;
  std::string output_;
};

/// In the child: what its parent has chosen.
std::string child_data();
std::string child_folder();

}  // namespace ld
