// Where did the NaN come from?
//
//   AnomalyMode watch;                // from here on every op of this thread is checked
//   Tape tape;
//   Var loss = model(batch);
//   tape.backward(loss);              // throws at the first value or gradient that is NaN or infinite
//
// Checked are the outputs of every op that calls record(), on the tape or not (so evaluation is covered too),
// the gradient that backward starts from, and after each step of backward every gradient it has added to. Not
// checked: what an op computes inside and does not return, and detach, comparisons and noise, which call no
// record(): their values show in the next op's inputs. Leaves accumulate, so start from zeroed gradients.
//
// The message names the op, its shapes, the first bad element, and where each input came from. Every tensor
// is copied to the host and looked at there: slow, and the same code for every device.
#pragma once

#include <unordered_set>

#include "autograd/op_log.h"

namespace ld {

class AnomalyMode : public TapeObserver {
 public:
  void after_forward(const char* name, const std::vector<Var>& inputs,
                     const std::vector<Var>& outputs) override;
  void before_backward(const Node& node) override;
  void after_backward(const Node& node) override;

 private:
  std::string title(const Node& node) const;
  std::string description(const Operand& operand) const;

  OpLog log_;
  std::unordered_set<std::shared_ptr<GradientSlot>> checked_;  // whose gradients have been checked as inputs
};

}  // namespace ld
