#include "autograd/trace.h"

#include <cmath>

#include "engine/memory.h"

namespace ld {

double sum_of_squares(const Tensor& t) {
  double sum = 0;
  for (double x : t.to_vector()) sum += x * x;
  return sum;
}

TapeTrace::Clock::time_point TapeTrace::now() {
  synchronize();
  return Clock::now();
}

double TapeTrace::lap() {
  const Clock::time_point before = clock_;
  clock_ = now();
  return std::chrono::duration<double, std::milli>(clock_ - before).count();
}

TapeTrace::Measured* TapeTrace::measured_of(const Node& node) {
  const LoggedOp* op = log_.find(node);
  return op ? &measured_[static_cast<size_t>(op->number)] : nullptr;
}

void TapeTrace::after_forward(const char* name, const std::vector<Var>& inputs,
                              const std::vector<Var>& outputs) {
  measured_.push_back({.forward_ms = lap()});
  log_.add(name, inputs, outputs);
  clock_ = Clock::now();  // the time of this function itself is nobody's
}

void TapeTrace::before_backward(const Node& node) {
  at_ = measured_of(node);
  std::optional<double> squares;
  for (const auto& output : node.outputs)
    if (output->gradient) squares = squares.value_or(0) + sum_of_squares(output->gradient);
  if (at_) at_->gradient = squares ? std::optional(std::sqrt(*squares)) : std::nullopt;
  clock_ = now();
}

void TapeTrace::after_backward(const Node&) {
  const double milliseconds = lap();
  if (at_) at_->backward_ms = at_->gradient ? std::optional(milliseconds) : std::nullopt;
  live_bytes_ = memory_report().total.now;
}

void TapeTrace::after_drop() {
  if (at_) at_->saved = live_bytes_ - memory_report().total.now;
  clock_ = Clock::now();
}

}  // namespace ld
