// What a program that takes its time tells the person waiting for it: lines that stay, and one live line of
// status. On a terminal the status is rewritten in place; in a pipe or a log file it becomes a plain line now
// and then, so that a slow machine never looks dead.
#pragma once

#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

namespace ld {

/// Called now and then with the part of a job that is done, 0..1; always by the thread that started the job.
using ProgressReport = std::function<void(double fraction)>;

class Console {
 public:
  /// Without a stream nothing is said.
  explicit Console(std::FILE* stream);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// A line that stays.
  void line(const std::string& text);
  /// What is going on now; replaces the last status. Call it as often as you like.
  void status(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  void clear();

  std::FILE* stream_;
  bool terminal_, open_ = false;
  Clock::time_point printed_ = Clock::now();
};

}  // namespace ld
