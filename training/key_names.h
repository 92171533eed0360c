// The set of valid keys, and what to tell someone who wrote another one.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ld {

struct KnownKey {
  std::string path;  // "model_config.n_layer"
  bool is_section;
};

class KnownKeys {
 public:
  explicit KnownKeys(std::vector<KnownKey> keys) : keys_(std::move(keys)) {}

  bool has(const std::string& path) const;
  bool is_section(const std::string& path) const;

  /// What is wrong with the key `name` in `section` ("" = top level) and which key was probably meant.
  std::string explain_unknown(const std::string& section, const std::string& name) const;

 private:
  std::vector<KnownKey> keys_;
};

/// "a.b.c" → {"a.b", "c"}; "c" → {"", "c"}.
std::pair<std::string, std::string> split_last(const std::string& path);

/// The text on one line, so that an error message that quotes it stays on one.
std::string one_line(std::string text);

/// The nearest of `names` to `name`, or "" if none looks like a slip of it.
std::string_view nearest(std::string_view name, const std::vector<std::string_view>& names);

/// How many letters must be inserted, removed, replaced, or swapped with their neighbour, to turn `a` into
/// `b`; upper and lower case count as the same letter.
int edit_distance(std::string_view a, std::string_view b);

}  // namespace ld
