// One line per key: its name, the field it fills, its range and what it means. Whoever reads, writes, lists
// or checks a config is a KeyVisitor that walks over these lines, so a new key is added in one place only.
#pragma once

#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace ld {

/// The numbers a key may hold. NaN lies in no range, and infinity only where an end says so.
struct Range {
  double low, high;
  bool excludes_low = false, excludes_high = false;

  bool contains(double value) const;
  std::string text() const;  // "above 0 and below 1"
};

/// One key of a config, as its visitors see it.
struct Key {
  std::string name;
  std::string doc;                // one line, what the value means
  bool is_required = false;       // else the field's own initial value is the default
  std::string default_text = {};  // says the default where the field's initial value does not
  bool applies = true;            // false: giving this key contradicts another one …
  std::string applies_when = {};  // … because it needs this

  Key required() const;
  Key defaults_to(std::string text) const;
  Key only_if(bool condition, std::string condition_text) const;
};

/// Walks over the keys of a config. Each visit may read or change the field.
class KeyVisitor {
 public:
  virtual ~KeyVisitor() = default;
  virtual void integer(const Key& key, int64_t& field, const Range& range) = 0;
  virtual void number(const Key& key, double& field, const Range& range) = 0;
  virtual void optional_number(const Key& key, std::optional<double>& field, const Range& range) = 0;
  virtual void flag(const Key& key, bool& field) = 0;
  virtual void text(const Key& key, std::string& field) = 0;
  /// `index` is the place of the value in `names`; out of bounds when the field holds none of them.
  virtual void choice(const Key& key, int& index, std::span<const std::string_view> names) = 0;

  /// Opens the section `key`; `present` says whether the config has it. The section is visited, then left,
  /// only if this returns true. Sections come after the plain keys beside them, as TOML wants.
  bool enter(const Key& key, bool present);
  void leave();

 protected:
  virtual bool wants_section(const Key& key, bool present) = 0;
  /// The key with the sections around it: "model_config.n_layer".
  std::string path(const Key& key) const { return section_.empty() ? key.name : section_ + "." + key.name; }

 private:
  std::string section_;  // dotted; empty at the top
};

inline constexpr std::string_view dropout_input_names[] = {"HIDDEN_STATE", "EMBED"};
inline constexpr std::string_view mask_rounding_names[] = {"NONE", "NOISE_AND_LINEAR", "SIGMOID",
                                                           "SIGMOID_DETACH"};
inline constexpr std::string_view mask_function_names[] = {"ATTENTION", "ELEMENTWISE"};
inline constexpr std::string_view placement_names[] = {"FEED_FORWARD", "EVERY_DROPOUT"};
inline constexpr std::string_view entropy_penalty_names[] = {"CANONICAL", "ALTERNATE"};
inline constexpr std::string_view l1_norm_penalty_names[] = {"SQUARED", "LINEAR"};

namespace ranges {
inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr Range positive_count{1, 2147483647};  // so that the product of two fits an int64_t
inline constexpr Range zero_or_count{0, 2147483647};
inline constexpr Range positive{0, infinity, true, true};
inline constexpr Range zero_or_more{0, infinity, false, true};
inline constexpr Range rate{0, 1, false, true};
inline constexpr Range positive_rate{0, 1, true, true};
inline constexpr Range finite{-infinity, infinity, true, true};
inline constexpr Range half_turn{0, std::numbers::pi};
}  // namespace ranges

void visit_keys(KeyVisitor& keys, ModelConfig& config);

/// Something wrong with the values of a config.
struct Problem {
  std::vector<std::string> keys;  // paths of the keys that take part, the likeliest culprit first
  std::string message;            // what was got, what was wanted, what to do
};

/// Visits every key that applies and keeps the first one whose value lies outside its range.
class RangeCheck : public KeyVisitor {
 public:
  std::optional<Problem> problem;

  void integer(const Key& key, int64_t& field, const Range& range) override;
  void number(const Key& key, double& field, const Range& range) override;
  void optional_number(const Key& key, std::optional<double>& field, const Range& range) override;
  void flag(const Key&, bool&) override {}
  void text(const Key& key, std::string& field) override;
  void choice(const Key& key, int& index, std::span<const std::string_view> names) override;

 protected:
  bool wants_section(const Key&, bool present) override { return present; }

 private:
  void complain(const Key& key, std::string message);
};

/// What RangeCheck cannot see: values that are fine alone and wrong together.
std::optional<Problem> find_contradiction(const ModelConfig& config);

/// `"A", "B", "C"`, for messages.
std::string quoted_list(std::span<const std::string_view> names);

}  // namespace ld
