// The tape: a flat list of what was computed, in order; backward walks it from the end.
//
//   Tape tape;                        // from here on this thread records
//   Var loss = mean(multiply(x, x));  // each op appends a node {name, inputs, outputs, backward}
//   tape.backward(loss);              // x.gradient() now holds d loss / d x
//
// No graph search and no recursion: execution order is already a topological order. Without a Tape (or under
// NoGradient) ops compute and record nothing: that is evaluation.
//
// An op ends by calling record(name, inputs, outputs, backward). The backward closure holds the tensors it
// needs and nothing more; it is dropped as soon as it has run, and the gradients of its outputs with it, so
// memory falls while going back. Who wants to see it work: autograd/trace.h prints and draws a tape,
// autograd/anomaly.h names the op that made the first NaN.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "autograd/observer.h"

namespace ld {

/// What a backward closure gets: the gradients of its outputs and the slots of its inputs.
class Gradients {
 public:
  Gradients(std::span<const std::shared_ptr<GradientSlot>> inputs,
            std::span<const std::shared_ptr<GradientSlot>> outputs)
      : inputs_(inputs), outputs_(outputs) {}

  /// Gradient of output i, or null if nothing has reached it (only possible with several outputs).
  template <class T>
  const T* dy(size_t i = 0) const {
    const Tensor& g = outputs_[i]->gradient;
    return g ? g.data<T>() : nullptr;
  }
  bool needs(size_t i) const { return inputs_[i] != nullptr; }
  /// Where to add the gradient of input i, every element exactly once; null if it is not needed.
  template <class T>
  Accumulator<T> dx(size_t i) const {
    return inputs_[i] ? inputs_[i]->accumulator<T>() : Accumulator<T>{};
  }
  /// The same, with zeros in place, for kernels that add to some elements only; null if it is not needed.
  template <class T>
  Accumulator<T> dx_zeroed(size_t i) const {
    return inputs_[i] ? inputs_[i]->zeroed<T>() : Accumulator<T>{};
  }
  /// For inputs that may be weights, whose gradient is kept in acc_t<T> when T is bfloat16: calls
  /// f(Accumulator<T>) or f(Accumulator<float>), or nothing if the gradient is not needed.
  template <class T, class F>
  void with_dx(size_t i, F f) const {
    if (is_wide<T>(i))
      f(dx<acc_t<T>>(i));
    else if (needs(i))
      f(dx<T>(i));
  }
  template <class T, class F>
  void with_dx_zeroed(size_t i, F f) const {
    if (is_wide<T>(i))
      f(dx_zeroed<acc_t<T>>(i));
    else if (needs(i))
      f(dx_zeroed<T>(i));
  }

 private:
  template <class T>
  bool is_wide(size_t i) const {
    return needs(i) && dtype_of<T>() == DType::bfloat16 && inputs_[i]->dtype == DType::float32;
  }
  std::span<const std::shared_ptr<GradientSlot>> inputs_, outputs_;
};

using Backward = std::function<void(const Gradients&)>;

struct Node {
  const char* name;
  std::vector<std::shared_ptr<GradientSlot>> inputs;  // null where no gradient is needed
  std::vector<std::shared_ptr<GradientSlot>> outputs;
  Backward backward;
};

enum class KeepTape : bool { no, yes };

/// Lives in a block: tapes of one thread end in the opposite order of their beginnings, like NoGradient.
class Tape {
 public:
  Tape();  // becomes this thread's current tape; the previous one returns when this one goes
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Adds d loss / d leaf to every leaf behind `loss`, a Var of one element recorded on this tape. The tape
  /// is empty afterwards, unless it is kept to be walked again.
  void backward(const Var& loss, KeepTape keep = KeepTape::no);
  /// The same for any y with the gradient dy given: leaves get dyᵀ · dy/dleaf.
  void backward(const Var& y, const Tensor& dy, KeepTape keep = KeepTape::no);

  size_t size() const { return nodes_.size(); }
  std::span<const Node> nodes() const { return nodes_; }
  static Tape* current();

 private:
  friend std::vector<Var> record(const char*, const std::vector<Var>&, const std::vector<Tensor>&, Backward);
  void add(const char* name, const std::vector<Var>& inputs, std::vector<Var>& outputs, Backward backward);

  uint64_t id_;
  Tape* previous_;
  std::vector<Node> nodes_;
};

/// While one lives, this thread records nothing.
class NoGradient {
 public:
  NoGradient();
  ~NoGradient();
  NoGradient(const NoGradient&) = delete;
  NoGradient& operator=(const NoGradient&) = delete;

 private:
  Tape* paused_;
};

/// Called by every op with its outputs computed: returns them as Vars, on the current tape if there is one
/// and an input needs a gradient, as constants otherwise.
std::vector<Var> record(const char* name, const std::vector<Var>& inputs, const std::vector<Tensor>& outputs,
                        Backward backward);
/// The usual case of one output.
Var record(const char* name, const std::vector<Var>& inputs, const Tensor& output, Backward backward);

/// For an op that has no derivative: throws its name if an input needs one, so no gradient is silently zero.
void refuse_gradient(const char* name, const std::vector<Var>& inputs);

}  // namespace ld
