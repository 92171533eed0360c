#include "training/toml_document.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "engine/error.h"
#include "training/key_names.h"

namespace ld {
namespace {

std::string read_text(const std::string& file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored))
    fail(file, ": is a directory; give the path of a config file inside it");
  if (!std::filesystem::exists(file, ignored))
    fail(file, ": no such file; give the path of a config, for example configs/quickstart.toml");
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream.peek() != std::ifstream::traits_type::eof()) text << stream.rdbuf();
  if (!stream.is_open() || stream.bad()) fail(file, ": cannot be read; check its permissions");
  return text.str();
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> names;
  std::istringstream stream(path);
  for (std::string name; std::getline(stream, name, '.');) names.push_back(name);
  return names;
}

/// What a --set assigns: TOML if it parses as one TOML value, else the text itself as a string, so that
/// `--set data=data/gcide` needs no quotes within the shell's.
toml::table parse_value(const std::string& text, const std::string& origin) {
  const bool one_value =
      text.find_first_of("\r\n") == std::string::npos;  // a second line could be a second key
  std::string syntax_error = "a value is one line";
  if (one_value) {
    try {
      return toml::parse("value = " + text);
    } catch (const toml::parse_error& error) {
      syntax_error = one_line(std::string(error.description()));
    }
  }
  const bool bare_word = one_value && !text.empty() && text.find_first_of("\"'[]{}") == std::string::npos;
  if (text.empty()) fail(origin, ": no value after '='; write --set KEY=VALUE");
  if (!bare_word) fail(origin, ": ", syntax_error, "; write the value as in a TOML file");
  toml::table table;
  table.insert("value", text);
  return table;
}

}  // namespace

TomlDocument::TomlDocument(const std::string& file) : TomlDocument(read_text(file), file) {}

TomlDocument::TomlDocument(const std::string& text, const std::string& name) : file_(name) {
  try {
    root_ = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    fail(where(error.source().begin), one_line(std::string(error.description())),
         "; correct the TOML syntax there");
  }
}

const toml::node* TomlDocument::find(const std::string& path) const {
  const toml::node* node = &root_;
  for (const std::string& name : split_path(path)) {
    const toml::table* table = node->as_table();
    node = table ? table->get(name) : nullptr;
    if (!node) return nullptr;
  }
  return node;
}

void TomlDocument::set(const std::string& path, const std::string& value, const std::string& origin) {
  toml::table parsed = parse_value(value, origin);
  const auto [section, name] = split_last(path);
  toml::table* table = &root_;
  std::string walked;
  for (const std::string& part : split_path(section)) {
    walked += (walked.empty() ? "" : ".") + part;
    if (!table->contains(part)) {
      table->insert(part, toml::table{});
      origins_[walked] = origin;
    }
    table = table->get(part)->as_table();
    if (!table)
      fail(where(walked), "got ", describe(*find(walked)), "; write it as a section [", walked, "]");
  }
  table->insert_or_assign(name, std::move(*parsed.get("value")));
  origins_[path] = origin;
}

void TomlDocument::remove(const std::string& path) {
  const auto [section, name] = split_last(path);
  toml::node* parent = &root_;
  for (const std::string& part : split_path(section)) {
    toml::table* table = parent->as_table();
    parent = table ? table->get(part) : nullptr;
    if (!parent) return;
  }
  if (toml::table* table = parent->as_table()) table->erase(name);
}

std::string TomlDocument::where(const toml::source_position& position) const {
  return fmt::format("{}:{}:{}: ", file_, position.line, position.column);
}

std::string TomlDocument::where(const std::string& path) const {
  // The nearest place that exists: the value itself, else the section around it, at last the file's
  // beginning.
  for (std::string place = path; !place.empty(); place = split_last(place).first) {
    const toml::node* node = find(place);
    if (!node) continue;
    if (const auto origin = origins_.find(place); origin != origins_.end())
      return origin->second + (place == path ? ": " : ": " + path + ": ");
    if (node->source().begin.line > 0) return where(node->source().begin) + path + ": ";
  }
  return where(toml::source_position{1, 1}) + path + ": ";
}

std::string describe(const toml::node& node) {
  if (const auto* text = node.as_string()) {
    constexpr size_t longest = 60;
    const std::string all = one_line(text->get());
    return fmt::format("the string \"{}\"", all.size() <= longest ? all : all.substr(0, longest) + "...");
  }
  if (const auto* integer = node.as_integer()) return fmt::format("the integer {}", integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("the number {}", number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (node.is_table()) return "a section";
  if (node.is_array()) return "an array";
  return "a date or time";
}

}  // namespace ld
