#include "autograd/anomaly.h"

#include <algorithm>
#include <cmath>

namespace ld {
namespace {

/// "(1, 2)": where element i of a tensor is.
std::string place_of(int64_t i, const Shape& shape) {
  std::string text;
  for (int d = shape.rank(); d-- > 0; i /= shape[d])
    text = std::to_string(i % shape[d]) + (text.empty() ? "" : ", ") + text;
  return "(" + text + ")";
}

/// "is nan at element 5, place (1, 2)" of the first element that is not finite; empty if all are.
std::string first_not_finite(const Tensor& t) {
  const std::vector<double> values = t.to_vector();
  const auto bad = std::find_if(values.begin(), values.end(), [](double x) { return !std::isfinite(x); });
  if (bad == values.end()) return "";
  const int64_t i = bad - values.begin();
  std::ostringstream text;
  const double value = std::isnan(*bad) ? NAN : *bad;  // without the sign a NaN may carry
  text << "is " << value << " at element " << i << ", place " << place_of(i, t.shape());
  return text.str();
}

/// What an input holds, to tell the op that made a NaN from one that was given it.
std::string content(const Tensor& t) {
  if (t.elements() == 0) return "is empty";
  if (std::string bad = first_not_finite(t); !bad.empty()) return bad;
  const std::vector<double> values = t.to_vector();
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  std::ostringstream text;
  text << "is finite, from " << *low << " to " << *high;
  return text.str();
}

}  // namespace

std::string AnomalyMode::title(const Node& node) const {
  const LoggedOp* op = log_.find(node);
  return op ? "op " + std::to_string(op->number) + ", " + op->name : std::string(node.name);
}

std::string AnomalyMode::description(const Operand& operand) const {
  return operand.given ? operand.type() + ", " + log_.source_of(operand) : operand.type();
}

void AnomalyMode::after_forward(const char* name, const std::vector<Var>& inputs,
                                const std::vector<Var>& outputs) {
  const LoggedOp& op = log_.add(name, inputs, outputs);
  for (size_t k = 0; k < outputs.size(); ++k) {
    const std::string bad = first_not_finite(outputs[k].value());
    if (bad.empty()) continue;
    std::string message = "op " + std::to_string(op.number) + ", " + op.name + ": output " +
                          std::to_string(k) + " " + op.outputs[k].type() + " " + bad +
                          "; the first value that is not finite";
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i]) continue;
      message += "\n  input " + std::to_string(i) + " " + description(op.inputs[i]) + ", " +
                 content(inputs[i].value());
    }
    fail(message);
  }
}

// All gradients but the one that backward was given have been checked when their producers had run.
void AnomalyMode::before_backward(const Node& node) {
  for (const auto& output : node.outputs) {
    if (!output->gradient || checked_.contains(output)) continue;
    const std::string bad = first_not_finite(output->gradient);
    check(bad.empty(), title(node), ": the gradient that backward starts from, ", output->shape, " ",
          output->dtype, " ", bad);
  }
}

void AnomalyMode::after_backward(const Node& node) {
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const auto& input = node.inputs[k];
    if (!input || !input->gradient) continue;
    const std::string bad = first_not_finite(input->gradient);
    checked_.insert(input);
    if (bad.empty()) continue;
    std::string message = title(node) + ", backward: the gradient of input " + std::to_string(k);
    if (const LoggedOp* op = log_.find(node)) {
      message += " " + description(op->inputs[k]) + " " + bad + "; the first gradient that is not finite";
      for (size_t i = 0; i < op->inputs.size(); ++i)
        if (i != k && op->inputs[i].given)
          message += "\n  input " + std::to_string(i) + " " + description(op->inputs[i]);
      for (size_t i = 0; i < op->outputs.size(); ++i)
        message += "\n  output " + std::to_string(i) + " " + op->outputs[i].type();
    } else {
      message += " " + bad + "; the first gradient that is not finite";
    }
    fail(message);
  }
}

}  // namespace ld
