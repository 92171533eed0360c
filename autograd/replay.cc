#include "autograd/replay.h"

namespace ld {
namespace {

thread_local Replay* current_replay = nullptr;

}  // namespace

Replay::Replay() {
  check(!current_replay, "replay: a recorder is already at work on this thread");
  current_replay = this;
}
Replay::~Replay() { current_replay = nullptr; }

void Replay::rewind() {
  check(!replaying_ || next_ == values_.size(), "replay: the run used ", next_,
        " held values, the recorded one ", values_.size());
  replaying_ = true;
  next_ = 0;
}

std::optional<Tensor> Replay::recorded() {
  Replay* replay = current_replay;
  if (!replay || !replay->replaying_) return std::nullopt;
  check(replay->next_ < replay->values_.size(),
        "replay: the run holds more values constant than the recorded one");
  return replay->values_[replay->next_++];
}

void Replay::record(const Tensor& now) {
  if (current_replay) current_replay->values_.push_back(now.clone());
}

Tensor Replay::held_constant(const Tensor& now) {
  const std::optional<Tensor> then = recorded();
  if (!then) {
    record(now);
    return now;
  }
  check(then->shape() == now.shape() && then->dtype() == now.dtype(), "replay: the run holds ", now.shape(),
        " ", now.dtype(), " constant, the recorded one ", then->shape(), " ", then->dtype());
  return *then;
}

}  // namespace ld
