// The two forms in which a TapeTrace is shown.
#include <fmt/format.h>

#include <cmath>

#include "autograd/trace.h"

namespace ld {
namespace {

std::string text_of(const Shape& shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

std::string milliseconds(const std::optional<double>& ms) { return ms ? fmt::format("{:.3f}", *ms) : "-"; }
std::string norm(const std::optional<double>& gradient) {
  return gradient ? fmt::format("{:.3e}", *gradient) : "-";
}
std::string bytes(const std::optional<int64_t>& count) { return count ? std::to_string(*count) : "-"; }

std::optional<double> norm_of_leaf(const GradientSlot& leaf) {
  return leaf.gradient ? std::optional(std::sqrt(sum_of_squares(leaf.gradient))) : std::nullopt;
}

std::string name_of_leaf(const GradientSlot& leaf) {
  return leaf.name.empty() ? "(leaf without a name)" : leaf.name;
}

int64_t bytes_of(const std::vector<Operand>& operands) {
  int64_t sum = 0;
  for (const Operand& operand : operands) sum += operand.bytes();
  return sum;
}

/// "op 2 (4, 8)", "weight (16, 8)", "constant (4, 8) float64". The dtype is only told where it is not
/// `usual`.
std::string text_of_input(const Operand& input, DType usual) {
  std::string text = "constant";
  if (input.is_leaf()) text = name_of_leaf(*input.slot);
  if (input.producer >= 0) text = fmt::format("op {}", input.producer);
  if (input.producer_output > 0) text += fmt::format(" output {}", input.producer_output);
  text += " " + text_of(input.shape);
  return input.dtype == usual ? text : text + " " + name_of(input.dtype);
}

/// "op 2 (4, 8), weight (16, 8) -> (4, 16) float32"
std::string signature(const LoggedOp& op) {
  std::string inputs, outputs;
  for (const Operand& input : op.inputs)
    if (input.given) inputs += (inputs.empty() ? "" : ", ") + text_of_input(input, op.outputs[0].dtype);
  for (const Operand& output : op.outputs) outputs += (outputs.empty() ? "" : ", ") + output.type();
  return inputs + " -> " + outputs;
}

/// A DOT string: quotes and backslashes escaped, line ends as \n.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c == '\n')
      result += "\\n";
    else
      result += c;
  }
  return result + '"';
}

}  // namespace

std::string TapeTrace::table() const {
  size_t width = 5;  // of the names; at least the word "total"
  for (const LoggedOp& op : log_.ops()) width = std::max(width, op.name.size());
  auto row = [&](const auto& number, const std::string& name, const std::string& size,
                 const std::string& saved, const std::string& forward, const std::string& backward,
                 const std::string& gradient, const std::string& last) {
    std::string line = fmt::format("{:>4}  {:<{}}{:>12}{:>12}{:>10}{:>10}{:>12}  {}", number, name, width,
                                   size, saved, forward, backward, gradient, last);
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
  };
  std::string text =
      row("op", "name", "bytes", "saved", "forward", "backward", "gradient", "inputs -> outputs");
  Measured total{0, 0.0, {}, 0};
  int64_t total_bytes = 0;
  for (const LoggedOp& op : log_.ops()) {
    const Measured& m = measured_[static_cast<size_t>(op.number)];
    text += row(op.number, op.name, bytes(bytes_of(op.outputs)), bytes(m.saved), milliseconds(m.forward_ms),
                milliseconds(m.backward_ms), norm(m.gradient), signature(op));
    total_bytes += bytes_of(op.outputs);
    total.forward_ms += m.forward_ms;
    *total.backward_ms += m.backward_ms.value_or(0);
    *total.saved += m.saved.value_or(0);
  }
  text += row("", "total", bytes(total_bytes), bytes(total.saved), milliseconds(total.forward_ms),
              milliseconds(total.backward_ms), "", "");
  if (!log_.leaves().empty()) text += row("", "leaf", "bytes", "", "", "", "gradient", "name");
  for (const auto& leaf : log_.leaves())
    text += row("", "", bytes(leaf->shape.elements() * size_of(leaf->dtype)), "", "", "",
                norm(norm_of_leaf(*leaf)),
                fmt::format("{} {} {}", name_of_leaf(*leaf), text_of(leaf->shape), name_of(leaf->dtype)));
  return text;
}

std::string TapeTrace::dot() const {
  std::string text =
      "digraph tape {\n"
      "  rankdir=TB;\n"
      "  node [fontname=\"Helvetica\", fontsize=10];\n"
      "  edge [fontname=\"Helvetica\", fontsize=8, color=gray40];\n";
  std::unordered_map<const GradientSlot*, size_t> leaf_numbers;
  for (const auto& leaf : log_.leaves()) {
    const size_t number = leaf_numbers.size();
    leaf_numbers[leaf.get()] = number;
    const std::string label = fmt::format(
        "{}\n{} {}\n{} bytes\ngradient {}", name_of_leaf(*leaf), text_of(leaf->shape), name_of(leaf->dtype),
        leaf->shape.elements() * size_of(leaf->dtype), norm(norm_of_leaf(*leaf)));
    text += fmt::format("  leaf{} [shape=ellipse, style=filled, fillcolor=gray92, label={}];\n", number,
                        quoted(label));
  }
  for (const LoggedOp& op : log_.ops()) {
    const Measured& m = measured_[static_cast<size_t>(op.number)];
    std::string outputs;
    for (const Operand& output : op.outputs) outputs += output.type() + "\n";
    const std::string label =
        fmt::format("{}  {}\n{}{} bytes, {} saved\nforward {} ms, backward {} ms\ngradient {}", op.number,
                    op.name, outputs, bytes_of(op.outputs), bytes(m.saved), milliseconds(m.forward_ms),
                    milliseconds(m.backward_ms), norm(m.gradient));
    text += fmt::format("  op{} [shape=box{}, label={}];\n", op.number, op.on_tape() ? "" : ", style=dashed",
                        quoted(label));
    for (const Operand& input : op.inputs) {
      if (!input.slot) continue;
      const std::string to = fmt::format(" -> op{}", op.number);
      if (input.is_leaf())
        text += fmt::format("  leaf{}{};\n", leaf_numbers.at(input.slot.get()), to);
      else if (input.producer >= 0)
        text += fmt::format(
            "  op{}{}{};\n", input.producer, to,
            input.producer_output ? fmt::format(" [label=\"output {}\"]", input.producer_output) : "");
    }
  }
  return text + "}\n";
}

}  // namespace ld
