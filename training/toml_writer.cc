#include "training/toml_writer.h"

#include <fmt/format.h>

#include <iterator>

#include "engine/error.h"

namespace ld {
namespace {

/// The shortest digits that read back as the same double, with a point or an exponent as TOML wants.
std::string toml_number(double value) {
  std::string digits = fmt::format("{}", value);
  const bool is_whole = digits.find_first_not_of("-0123456789") == std::string::npos;
  return is_whole ? digits + ".0" : digits;
}

std::string toml_string(const std::string& text) {
  std::string quoted = "\"";
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\')
      quoted += {'\\', letter};
    else if (code < 0x20 || code == 0x7f)
      quoted += fmt::format("\\u{:04X}", code);
    else
      quoted += letter;
  }
  return quoted + '"';
}

std::string toml_flag(bool value) { return value ? "true" : "false"; }

}  // namespace

void TomlWriter::line(const Key& key, const std::string& value) {
  if (key.applies) toml += fmt::format("{} = {}\n", key.name, value);
}

void TomlWriter::integer(const Key& key, int64_t& field, const Range&) {
  line(key, fmt::format("{}", field));
}
void TomlWriter::number(const Key& key, double& field, const Range&) { line(key, toml_number(field)); }
void TomlWriter::optional_number(const Key& key, std::optional<double>& field, const Range&) {
  if (field) line(key, toml_number(*field));
}
void TomlWriter::flag(const Key& key, bool& field) { line(key, toml_flag(field)); }
void TomlWriter::text(const Key& key, std::string& field) { line(key, toml_string(field)); }
void TomlWriter::choice(const Key& key, int& index, std::span<const std::string_view> names) {
  check(index >= 0 && index < std::ssize(names), path(key), ": none of its values; set it to one of ",
        quoted_list(names));
  line(key, toml_string(std::string(names[index])));
}

bool TomlWriter::wants_section(const Key& key, bool present) {
  if (present) toml += fmt::format("\n[{}]\n", path(key));
  return present;
}

void KeyLister::entry(const Key& key, const std::string& wanted, const std::string& default_value) {
  keys.push_back({path(key), false});
  std::string terms = key.is_required            ? "required"
                      : key.default_text.empty() ? "default " + default_value
                                                 : "default " + key.default_text;
  if (!key.applies_when.empty()) terms += "; only with " + key.applies_when;
  list += fmt::format("  {}: {}; {}\n      {}\n", key.name, wanted, terms, key.doc);
}

void KeyLister::integer(const Key& key, int64_t& field, const Range& range) {
  entry(key, "integer " + range.text(), fmt::format("{}", field));
}
void KeyLister::number(const Key& key, double& field, const Range& range) {
  entry(key, "number " + range.text(), toml_number(field));
}
void KeyLister::optional_number(const Key& key, std::optional<double>& field, const Range& range) {
  entry(key, "number " + range.text(), field ? toml_number(*field) : "unset");
}
void KeyLister::flag(const Key& key, bool& field) { entry(key, "true or false", toml_flag(field)); }
void KeyLister::text(const Key& key, std::string& field) { entry(key, "string", toml_string(field)); }
void KeyLister::choice(const Key& key, int& index, std::span<const std::string_view> names) {
  entry(key, "one of " + quoted_list(names), toml_string(std::string(names[index])));
}

bool KeyLister::wants_section(const Key& key, bool) {
  keys.push_back({path(key), true});
  std::string terms = key.is_required ? "required" : "optional";
  if (!key.applies_when.empty()) terms += "; only with " + key.applies_when;
  list += fmt::format("\n[{}] ({}): {}\n", path(key), terms, key.doc);
  return true;
}

}  // namespace ld
