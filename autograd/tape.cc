#include "autograd/tape.h"

#include <atomic>

namespace ld {
namespace {

thread_local Tape* current_tape = nullptr;
std::atomic<uint64_t> next_tape_id{1};

}  // namespace

void GradientSlot::allocate() {
  MemoryScope scope(tape == 0 ? MemoryUse::gradients : MemoryUse::activations);
  gradient = Tensor(shape, dtype);
}

Var Var::leaf(Tensor value, std::string name) {
  const DType dtype = value.dtype();
  return leaf(std::move(value), std::move(name), dtype);
}

Var Var::leaf(Tensor value, std::string name, DType gradient) {
  check(
      value.dtype() == DType::float32 || value.dtype() == DType::float64 || value.dtype() == DType::bfloat16,
      "leaf ", name, ": only floating tensors have gradients, got ", value.dtype());
  check(gradient == value.dtype() || (gradient == DType::float32 && value.dtype() == DType::bfloat16),
        "leaf ", name, ": the gradient of ", value.dtype(), " cannot be kept in ", gradient,
        "; only that of bfloat16 may differ, and be float32");
  Var v(std::move(value));
  v.slot_ = std::make_shared<GradientSlot>(GradientSlot{v.shape(), gradient, std::move(name), 0, {}});
  return v;
}

Tape::Tape() : id_(next_tape_id++), previous_(current_tape) { current_tape = this; }
Tape::~Tape() { current_tape = previous_; }
Tape* Tape::current() { return current_tape; }

NoGradient::NoGradient() : paused_(current_tape) { current_tape = nullptr; }
NoGradient::~NoGradient() { current_tape = paused_; }

void Tape::backward(const Var& loss, KeepTape keep) {
  check(loss.value().elements() == 1, "backward: the loss has shape ", loss.shape(),
        ", expected one element; give the gradient dy of a larger result");
  Tensor one = Tensor::from(std::vector<double>{1.0}, loss.shape(), loss.dtype());
  backward(loss, one, keep);
}

void Tape::backward(const Var& y, const Tensor& dy, KeepTape keep) {
  check(y.slot_ != nullptr, "backward: nothing behind this value requires a gradient");
  check(y.slot_->tape == id_,
        "backward: this value was not recorded on this tape (or the tape has been used up)");
  check(dy.shape() == y.shape() && dy.dtype() == y.dtype(), "backward: the gradient has shape ", dy.shape(),
        " ", dy.dtype(), ", the value ", y.shape(), " ", y.dtype());
  y.slot_->gradient = dy.clone();
  TapeObserver* observer = TapeObserver::current();
  for (size_t i = nodes_.size(); i-- > 0;) {
    Node& node = nodes_[i];
    if (observer) observer->before_backward(node);
    bool reached = false;
    for (const auto& output : node.outputs) reached = reached || output->gradient;
    if (reached) node.backward(Gradients(node.inputs, node.outputs));
    for (const auto& output : node.outputs) output->gradient = Tensor();
    if (observer) observer->after_backward(node);
    if (keep == KeepTape::yes) continue;
    nodes_.pop_back();
    if (observer) observer->after_drop();
  }
  if (keep == KeepTape::no) id_ = next_tape_id++;  // what was recorded so far belongs to no tape any more
}

void Tape::add(const char* name, const std::vector<Var>& inputs, std::vector<Var>& outputs,
               Backward backward) {
  std::vector<std::shared_ptr<GradientSlot>> slots;
  bool needed = false;
  for (const Var& input : inputs) {
    const auto& slot = input.slot();
    check(!slot || slot->tape == 0 || slot->tape == id_, name,
          ": an input was computed on another tape, or on one whose backward has already run; compute it "
          "again, or "
          "detach it");
    slots.push_back(slot);
    needed = needed || slot;
  }
  if (!needed) return;
  Node node{name, std::move(slots), {}, std::move(backward)};
  for (Var& output : outputs) {
    output.slot_ = std::make_shared<GradientSlot>(GradientSlot{output.shape(), output.dtype(), "", id_, {}});
    node.outputs.push_back(output.slot_);
  }
  nodes_.push_back(std::move(node));
}

std::vector<Var> record(const char* name, const std::vector<Var>& inputs, const std::vector<Tensor>& outputs,
                        Backward backward) {
  std::vector<Var> result(outputs.begin(), outputs.end());
  if (Tape* tape = Tape::current()) tape->add(name, inputs, result, std::move(backward));
  if (TapeObserver* observer = TapeObserver::current()) observer->after_forward(name, inputs, result);
  return result;
}

Var record(const char* name, const std::vector<Var>& inputs, const Tensor& output, Backward backward) {
  return record(name, inputs, std::vector<Tensor>{output}, std::move(backward))[0];
}

void refuse_gradient(const char* name, const std::vector<Var>& inputs) {
  for (const Var& input : inputs)
    check(!Tape::current() || !input.requires_gradient(), name,
          ": has no derivative, but an input requires a gradient; detach it to say that none is wanted");
}

}  // namespace ld
