// What a long job tells the person waiting for it, on standard error.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace ld {

/// Called now and then with the part of the work that is done, 0..1; always by the thread that started the
/// work.
using ProgressReport = std::function<void(double fraction)>;

/// Prints the steps of a job with the seconds since its start. A terminal gets one live line per step; a pipe
/// or a log file gets plain lines: the start of a step, every few seconds a percentage, its end.
///   progress.start("encoding"); … progress.update(0.3); … progress.finish("7,310,221 tokens");
class Progress {
 public:
  explicit Progress(bool quiet = false);
  ~Progress();  // ends a live line that an error has left unfinished
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void start(const std::string& step);
  void update(double fraction);
  void finish(const std::string& result);

  /// `update` as a function to hand to the one who does the work.
  ProgressReport reporter() {
    return [this](double fraction) { update(fraction); };
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds() const;
  void print(const std::string& detail, bool last);

  bool quiet_, terminal_, line_open_ = false;
  Clock::time_point begin_ = Clock::now(), printed_ = begin_;
  std::string step_;
};

}  // namespace ld
