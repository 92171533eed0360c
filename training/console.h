// The lines a run shows: permanent ones, and a live status line. On a terminal the status is rewritten in
// place; in a pipe or a log file it becomes a plain line now and then, so that a slow machine never looks
// dead.
#pragma once

#include <chrono>
#include <string>

namespace ld {

class Console {
 public:
  Console();
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// A line that stays.
  void line(const std::string& text);
  /// What is going on now; replaces the last status.
  void status(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  void clear();

  bool terminal_, open_ = false;
  Clock::time_point printed_ = Clock::now();
};

/// "0.3 s", "45 s", "12 min 30 s", "3 h 20 min", "51 days".
std::string duration_text(double seconds);
/// "1,234,567".
std::string grouped(int64_t n);
/// "12.3 MiB".
std::string bytes_text(int64_t bytes);

}  // namespace ld
