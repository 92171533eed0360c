// Two visitors that put a config into words: as a TOML file, and as a list of all keys for --help. A third
// collects the names of the keys.
#pragma once

#include <string>
#include <vector>

#include "model/config_keys.h"
#include "training/key_names.h"

namespace ld {

/// Writes every key that applies. Numbers are written with as many digits as it takes to read them back
/// exactly.
class TomlWriter : public KeyVisitor {
 public:
  std::string toml;

  void integer(const Key& key, int64_t& field, const Range& range) override;
  void number(const Key& key, double& field, const Range& range) override;
  void optional_number(const Key& key, std::optional<double>& field, const Range& range) override;
  void flag(const Key& key, bool& field) override;
  void text(const Key& key, std::string& field) override;
  void choice(const Key& key, int& index, std::span<const std::string_view> names) override;

 protected:
  bool wants_section(const Key& key, bool present) override;

 private:
  void line(const Key& key, const std::string& value);
};

/// Lists every key, whether the visited config has it or not; the config's own values are shown as defaults.
class KeyLister : public KeyVisitor {
 public:
  std::string list;
  std::vector<KnownKey> keys;

  void integer(const Key& key, int64_t& field, const Range& range) override;
  void number(const Key& key, double& field, const Range& range) override;
  void optional_number(const Key& key, std::optional<double>& field, const Range& range) override;
  void flag(const Key& key, bool& field) override;
  void text(const Key& key, std::string& field) override;
  void choice(const Key& key, int& index, std::span<const std::string_view> names) override;

 protected:
  bool wants_section(const Key& key, bool present) override;

 private:
  void entry(const Key& key, const std::string& wanted, const std::string& default_value);
};

}  // namespace ld
