// Fills the fields of a config from a TomlDocument, one key at a time, and refuses what does not fit: a value
// of another type, a missing key, a key that another one rules out, a key nobody knows.
#pragma once

#include <string>

#include "model/config_keys.h"
#include "training/key_names.h"
#include "training/toml_document.h"

namespace ld {

class TomlReader : public KeyVisitor {
 public:
  explicit TomlReader(const TomlDocument& document) : document_(document) {}

  void integer(const Key& key, int64_t& field, const Range& range) override;
  void number(const Key& key, double& field, const Range& range) override;
  void optional_number(const Key& key, std::optional<double>& field, const Range& range) override;
  void flag(const Key& key, bool& field) override;
  void text(const Key& key, std::string& field) override;
  void choice(const Key& key, int& index, std::span<const std::string_view> names) override;

 protected:
  /// A section is read if the document has it, whatever the config held before.
  bool wants_section(const Key& key, bool present) override;

 private:
  /// The value of `key`, or null if it is absent and may be.
  const toml::node* find(const Key& key) const;
  [[noreturn]] void wrong_type(const Key& key, const toml::node& node, const std::string& wanted) const;

  const TomlDocument& document_;
};

/// Throws at the first key of the document, from top to bottom, that is not among `known`.
void refuse_unknown_keys(const TomlDocument& document, const KnownKeys& known);

/// Applies one "a.b.c=value", as given after --set.
void apply_override(TomlDocument& document, const KnownKeys& known, const std::string& assignment);
/// Takes away one "a.b.c", a key or a section, as given after --unset.
void apply_removal(TomlDocument& document, const KnownKeys& known, const std::string& path);

}  // namespace ld
