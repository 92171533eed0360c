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

std::optional<Tensor> Replay::next_recorded(const Shape& shape, DType dtype) {
  Replay* replay = current_replay;
  if (!replay || !replay->replaying_) return std::nullopt;
  check(replay->next_ < replay->values_.size(),
        "replay: the run holds more values constant than the recorded one");
  const Tensor& then = replay->values_[replay->next_++];
  check(then.shape() == shape && then.dtype() == dtype, "replay: the run holds ", shape, " ", dtype,
        " constant, the recorded one ", then.shape(), " ", then.dtype());
  return then;
}

void Replay::record(const Tensor& now) {
  if (current_replay) current_replay->values_.push_back(now.clone());
}

Tensor Replay::held_constant(const Tensor& now) {
  if (const std::optional<Tensor> then = next_recorded(now.shape(), now.dtype())) return *then;
  record(now);
  return now;
}

}  // namespace ld
