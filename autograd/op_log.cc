#include "autograd/op_log.h"

namespace ld {

std::string Operand::type() const {
  if (!given) return "not given";
  std::ostringstream text;
  text << shape << ' ' << dtype;
  return text.str();
}

const LoggedOp& OpLog::add(const char* name, const std::vector<Var>& inputs,
                           const std::vector<Var>& outputs) {
  LoggedOp op{static_cast<int64_t>(ops_.size()), name, {}, {}};
  for (const Var& input : inputs) {
    if (!input) {
      op.inputs.emplace_back();
      continue;
    }
    Operand operand{true, input.shape(), input.dtype(), input.slot()};
    if (operand.slot) {
      const auto [place, first] = origins_.try_emplace(operand.slot.get(), Origin{-1, 0});
      if (first && operand.is_leaf()) leaves_.push_back(operand.slot);
      operand.producer = place->second.op;
      operand.producer_output = place->second.output;
    }
    op.inputs.push_back(operand);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Var& output = outputs[i];
    op.outputs.push_back({true, output.shape(), output.dtype(), output.slot()});
    if (output.slot()) origins_[output.slot().get()] = {op.number, i};
  }
  ops_.push_back(std::move(op));
  return ops_.back();
}

const LoggedOp* OpLog::find(const Node& node) const {
  const auto origin = origins_.find(node.outputs[0].get());
  const bool known = origin != origins_.end() && origin->second.op >= 0;
  return known ? &ops_[static_cast<size_t>(origin->second.op)] : nullptr;
}

std::string OpLog::source_of(const Operand& operand) const {
  if (!operand.slot) return "constant";
  if (operand.is_leaf())
    return operand.slot->name.empty() ? "leaf without a name" : "leaf " + operand.slot->name;
  if (operand.producer < 0) return "computed before this log began";
  return "op " + std::to_string(operand.producer) + ", " + ops_[static_cast<size_t>(operand.producer)].name;
}

}  // namespace ld
