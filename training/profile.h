// Where a run's time and memory traffic go: ./train CONFIG --profile [FILE.json].
//
//   Profile profile;                  // from here on, what this thread computes is timed
//   … training …                     // what is no op says so: observed("adamw")
//   fmt::print("{}", profile.table());
//   profile.write_trace("trace.json");
//
// The table sums up the whole run, one row per op name. Its columns count:
//   forward    times called, milliseconds since what came before, bytes of its inputs and outputs
//   backward   milliseconds of its closures, bytes of the gradients of its outputs and inputs
// The trace holds every single call of the first steps (traced_steps() says how many; no step begins after
// `trace_events` calls), in the format of Chrome's trace viewer, which https://ui.perfetto.dev opens.
//
// Before each reading of the clock the device is waited for: on a GPU the sum is that of a run in which
// nothing overlaps.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "autograd/observer.h"

namespace ld {

class Profile : public TapeObserver {
 public:
  explicit Profile(size_t trace_events = 20000);

  std::string table() const;
  void write_trace(const std::string& path) const;
  int64_t traced_steps() const { return traced_steps_; }

  void after_forward(const char* name, const std::vector<Var>& inputs,
                     const std::vector<Var>& outputs) override;
  void before_backward(const Node& node) override;
  void after_backward(const Node& node) override;
  void after_other_work(const char* name) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Total {
    int64_t calls = 0, bytes = 0;
    double ms = 0;
  };
  struct Event {
    std::string name;
    const char* kind;  // "forward", "backward" or "other"
    double begin_us, us;
    int64_t bytes;
  };
  using Totals = std::map<std::string, Total>;

  void add(Totals& totals, const std::string& name, const char* kind, int64_t bytes);

  size_t trace_events_;
  Clock::time_point start_, clock_;
  Totals forward_, backward_, other_;
  std::vector<Event> events_;
  int64_t traced_steps_ = 0;
  bool tracing_ = true;
};

}  // namespace ld
