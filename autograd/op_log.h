// Which ops were computed, from what: the memory of an observer, for the tape forgets a node once backward
// has been there. Holds no values, only shapes and names.
#pragma once

#include <unordered_map>

#include "autograd/tape.h"

namespace ld {

/// An input or output of a logged op.
struct Operand {
  bool given = false;  // false for an input that was left out, such as a bias
  Shape shape;
  DType dtype = DType::float32;
  std::shared_ptr<GradientSlot> slot;  // kept, so that its address stays its own; null for a constant
  int64_t producer = -1;               // number of the op it came from; -1 if not an op of this log
  size_t producer_output = 0;          // which of that op's outputs it is

  bool is_leaf() const { return slot && slot->tape == 0; }
  int64_t bytes() const { return shape.elements() * size_of(dtype); }
  /// "(2, 3) float32", "not given".
  std::string type() const;
};

/// An op as it was computed. Numbers count from 0 in order of execution.
struct LoggedOp {
  int64_t number;
  std::string name;
  std::vector<Operand> inputs, outputs;

  bool on_tape() const { return outputs[0].slot != nullptr; }
};

class OpLog {
 public:
  const LoggedOp& add(const char* name, const std::vector<Var>& inputs, const std::vector<Var>& outputs);
  /// The op that `node` does the backward of; null if it was recorded before this log began.
  const LoggedOp* find(const Node& node) const;

  const std::vector<LoggedOp>& ops() const { return ops_; }
  /// Every leaf that was an input, in order of first use.
  const std::vector<std::shared_ptr<GradientSlot>>& leaves() const { return leaves_; }
  /// "op 3, layernorm", "leaf blocks.0.layernorm1.weight", "constant", for messages.
  std::string source_of(const Operand& operand) const;

 private:
  struct Origin {
    int64_t op;  // -1 for leaves, and for what was computed before this log began
    size_t output;
  };
  std::vector<LoggedOp> ops_;
  std::vector<std::shared_ptr<GradientSlot>> leaves_;
  std::unordered_map<const GradientSlot*, Origin> origins_;
};

}  // namespace ld
