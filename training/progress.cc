#include "training/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace ld {

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO)) {}

Progress::~Progress() {
  if (line_open_) fmt::print(stderr, "\n");
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

void Progress::start(const std::string& step) {
  step_ = step;
  print("", false);
}

void Progress::update(double fraction) {
  const std::chrono::milliseconds interval(terminal_ ? 100 : 5000);
  if (Clock::now() - printed_ >= interval) print(fmt::format("{:.0f} %", 100 * fraction), false);
}

void Progress::finish(const std::string& result) { print(result, true); }

void Progress::print(const std::string& detail, bool last) {
  printed_ = Clock::now();
  if (quiet_) return;
  std::string line = fmt::format("{:7.1f} s  {}", seconds(), step_);
  if (!detail.empty()) line += ": " + detail;
  line_open_ = terminal_ && !last;
  if (terminal_)
    fmt::print(stderr, "\r{}\x1b[K{}", line, last ? "\n" : "");  // \x1b[K clears what a longer line left
  else
    fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

}  // namespace ld
