// A parsed TOML file which remembers where each value came from: a line of the file, or a --set on the
// command line. Keys are named by dotted paths, "model_config.n_layer"; the empty path is the file itself.
#pragma once

#include <toml++/toml.h>
#include <map>
#include <string>

namespace ld {

class TomlDocument {
 public:
  /// Throws ld::Error if `file` is missing, a directory, or not TOML.
  explicit TomlDocument(const std::string& file);
  /// The same of a text; `name` is what errors call it.
  TomlDocument(const std::string& text, const std::string& name);

  const toml::table& root() const { return root_; }
  const toml::node* find(const std::string& path) const;  // null if absent

  /// Gives `path` the value written in `value`; `origin` is what error messages call its place.
  void set(const std::string& path, const std::string& value, const std::string& origin);

  /// As if the file had nothing under `path`, a key or a section.
  void remove(const std::string& path);

  /// The beginning of every message about `path`: "file:line:column: path: ", or "--set path=value: ". For an
  /// absent key, the place of the section that should hold it.
  std::string where(const std::string& path) const;
  std::string where(const toml::source_position& position) const;
  /// Whether the value came from --set.
  bool is_overridden(const std::string& path) const { return origins_.contains(path); }

 private:
  std::string file_;
  toml::table root_;
  std::map<std::string, std::string> origins_;  // path → the --set which gave it its value
};

/// "the string "abc"", "the integer 3", "a table": a value as error messages show it.
std::string describe(const toml::node& node);

}  // namespace ld
