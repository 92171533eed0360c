#include "training/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "autograd/tape.h"
#include "training/safe_file.h"
#include "training/text.h"

namespace ld {
namespace {

int64_t bytes_of(const std::vector<Var>& vars) {
  int64_t bytes = 0;
  for (const Var& v : vars) bytes += v ? v.value().bytes() : 0;
  return bytes;
}

int64_t gradient_bytes(const std::vector<std::shared_ptr<GradientSlot>>& slots) {
  int64_t bytes = 0;
  for (const auto& slot : slots) bytes += slot ? slot->shape.elements() * size_of(slot->dtype) : 0;
  return bytes;
}

}  // namespace

Profile::Profile(size_t trace_events) : trace_events_(trace_events) {
  synchronize();
  start_ = clock_ = Clock::now();
}

void Profile::add(Totals& totals, const std::string& name, const char* kind, int64_t bytes) {
  synchronize();
  const auto now = Clock::now();
  const std::chrono::duration<double, std::micro> begin = clock_ - start_, duration = now - clock_;
  Total& total = totals[name];
  ++total.calls;
  total.bytes += bytes;
  total.ms += duration.count() / 1e3;
  if (tracing_) events_.push_back({name, kind, begin.count(), duration.count(), bytes});
  clock_ = Clock::now();  // the time of this function itself is nobody's
}

void Profile::after_forward(const char* name, const std::vector<Var>& inputs,
                            const std::vector<Var>& outputs) {
  add(forward_, name, "forward", bytes_of(inputs) + bytes_of(outputs));
}

void Profile::before_backward(const Node&) {
  synchronize();
  clock_ = Clock::now();
}

void Profile::after_backward(const Node& node) {
  add(backward_, node.name, "backward", gradient_bytes(node.inputs) + gradient_bytes(node.outputs));
}

void Profile::after_other_work(const char* name) {
  add(other_, name, "other", 0);
  if (!tracing_ || std::string_view(name) != "adamw") return;  // which ends a step
  ++traced_steps_;
  tracing_ = events_.size() < trace_events_;
}

std::string Profile::table() const {
  std::set<std::string> names;
  double sum = 0;
  for (const Totals* totals : {&forward_, &backward_, &other_})
    for (const auto& [name, total] : *totals) {
      names.insert(name);
      sum += total.ms;
    }
  auto of = [](const Totals& totals, const std::string& name) {
    const auto place = totals.find(name);
    return place == totals.end() ? Total{} : place->second;
  };
  std::vector<std::pair<double, std::string>> order;
  for (const auto& name : names)
    order.emplace_back(of(forward_, name).ms + of(backward_, name).ms + of(other_, name).ms, name);
  std::sort(order.rbegin(), order.rend());
  std::string text = fmt::format("profile   {:<20}{:>7}{:>9}{:>13}{:>11}{:>13}{:>11}\n", "op", "share",
                                 "calls", "forward ms", "bytes", "backward ms", "bytes");
  for (const auto& [ms, name] : order) {
    const Total forward = of(forward_, name), backward = of(backward_, name), other = of(other_, name);
    text += fmt::format("          {:<20}{:>5.1f} %{:>9}{:>13.1f}{:>11}{:>13.1f}{:>11}\n", name,
                        100 * ms / sum, forward.calls + other.calls, forward.ms + other.ms,
                        bytes_text(forward.bytes), backward.ms, bytes_text(backward.bytes));
  }
  return text;
}

void Profile::write_trace(const std::string& path) const {
  std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& e = events_[i];
    const nlohmann::json event = {
        {"name", e.name}, {"cat", e.kind}, {"ph", "X"}, {"ts", e.begin_us},
        {"dur", e.us},    {"pid", 1},      {"tid", 1},  {"args", {{"bytes", e.bytes}}}};
    text += event.dump() + (i + 1 < events_.size() ? ",\n" : "\n");
  }
  write_file(path, text + "]}\n");
}

}  // namespace ld
