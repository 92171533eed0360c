#include "training/toml_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "engine/error.h"

namespace ld {

const toml::node* TomlReader::find(const Key& key) const {
  const std::string name = path(key);
  const toml::node* node = document_.find(name);
  if (node && !key.applies)
    fail(document_.where(name), "has no effect here; remove it, or set ", key.applies_when);
  if (!node && key.is_required)
    fail(document_.where(name), "is missing and has no default; add it (", key.doc, ")");
  return node;
}

void TomlReader::wrong_type(const Key& key, const toml::node& node, const std::string& wanted) const {
  fail(document_.where(path(key)), "got ", describe(node), "; set it to ", wanted);
}

void TomlReader::integer(const Key& key, int64_t& field, const Range& range) {
  const toml::node* node = find(key);
  if (!node) return;
  if (!node->is_integer()) wrong_type(key, *node, "an integer " + range.text());
  field = node->as_integer()->get();
}

void TomlReader::number(const Key& key, double& field, const Range& range) {
  const toml::node* node = find(key);
  if (!node) return;
  if (!node->is_number()) wrong_type(key, *node, "a number " + range.text());
  // An integer is a number too; a number is never silently cut to an integer.
  field =
      node->is_integer() ? static_cast<double>(node->as_integer()->get()) : node->as_floating_point()->get();
}

void TomlReader::optional_number(const Key& key, std::optional<double>& field, const Range& range) {
  if (!find(key)) return;
  double value = 0;
  number(key, value, range);
  field = value;
}

void TomlReader::flag(const Key& key, bool& field) {
  const toml::node* node = find(key);
  if (!node) return;
  if (!node->is_boolean()) wrong_type(key, *node, "true or false");
  field = node->as_boolean()->get();
}

void TomlReader::text(const Key& key, std::string& field) {
  const toml::node* node = find(key);
  if (!node) return;
  if (!node->is_string()) wrong_type(key, *node, "a string in quotes");
  field = node->as_string()->get();
}

void TomlReader::choice(const Key& key, int& index, std::span<const std::string_view> names) {
  const toml::node* node = find(key);
  if (!node) return;
  if (!node->is_string()) wrong_type(key, *node, "one of " + quoted_list(names));
  const std::string& name = node->as_string()->get();
  const auto place = std::find(names.begin(), names.end(), name);
  if (place == names.end()) {
    const std::string_view meant = nearest(name, {names.begin(), names.end()});
    const std::string hint = meant.empty() ? "" : fmt::format(" (the nearest is \"{}\")", meant);
    wrong_type(key, *node, "one of " + quoted_list(names) + hint);
  }
  index = static_cast<int>(place - names.begin());
}

bool TomlReader::wants_section(const Key& key, bool) {
  const toml::node* node = find(key);
  if (node && !node->is_table()) wrong_type(key, *node, "a section [" + path(key) + "]");
  return node != nullptr;
}

namespace {

struct UnknownKey {
  toml::source_position position;  // line 0: it came from --set
  std::string section, name;
};

void collect_unknown(const toml::table& table, const std::string& section, const KnownKeys& known,
                     std::vector<UnknownKey>& unknown) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string path = section.empty() ? name : section + "." + name;
    const bool has_dot = name.find('.') != std::string::npos;  // "a.b" = 1 is one key, not b of the section a
    if (has_dot || !known.has(path))
      unknown.push_back({key.source().begin, section, name});
    else if (known.is_section(path) && node.is_table())
      collect_unknown(*node.as_table(), path, known, unknown);
  }
}

}  // namespace

void refuse_unknown_keys(const TomlDocument& document, const KnownKeys& known) {
  std::vector<UnknownKey> unknown;  // tables are sorted by name, so the first line has to be searched
  collect_unknown(document.root(), "", known, unknown);
  if (unknown.empty()) return;
  const auto& first = *std::min_element(unknown.begin(), unknown.end(), [](const auto& a, const auto& b) {
    return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
  });
  const std::string advice = known.explain_unknown(first.section, first.name);
  // A --set names known keys only, but its value may be a whole section: --set model_config={n_layr=3}.
  if (document.is_overridden(first.section)) fail(document.where(first.section), advice);
  fail(document.where(first.position), advice);
}

namespace {

std::string trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(" \t"));
  text.erase(text.find_last_not_of(" \t") + 1);
  return text;
}

void refuse_unknown(const std::string& path, const KnownKeys& known, const std::string& origin) {
  if (known.has(path)) return;
  const auto [section, name] = split_last(path);
  fail(origin, ": ", known.explain_unknown(section, name));
}

}  // namespace

void apply_override(TomlDocument& document, const KnownKeys& known, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  const std::string origin = "--set " + one_line(assignment);
  if (equals == std::string::npos) fail(origin, ": no '='; write --set KEY=VALUE");
  const std::string path = trimmed(assignment.substr(0, equals));
  refuse_unknown(path, known, origin);
  document.set(path, trimmed(assignment.substr(equals + 1)), origin);
}

void apply_removal(TomlDocument& document, const KnownKeys& known, const std::string& path) {
  refuse_unknown(path, known, "--unset " + one_line(path));
  document.remove(path);
}

}  // namespace ld
