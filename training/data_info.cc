#include "training/data_info.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <sstream>

#include "engine/error.h"
#include "training/safe_file.h"

namespace ld {
namespace {

std::string quoted(const std::string& text) {  // with TOML's escapes
  std::ostringstream out;
  out << toml::value(text);
  return out.str();
}

int64_t count_in(const toml::table& table, const char* key, const std::string& path) {
  const std::optional<int64_t> count = table[key].value_exact<int64_t>();
  check(count.has_value() && *count >= 0, path, ": ", key, " is missing or no count; prepare the data again");
  return *count;
}

}  // namespace

std::optional<DataInfo> read_data_info(const std::string& prefix) {
  const std::string path = prefix + ".toml";
  if (!std::filesystem::exists(path)) return std::nullopt;
  toml::table table;
  try {
    table = toml::parse(read_file(path), path);
  } catch (const toml::parse_error& error) {
    const toml::source_position where = error.source().begin;
    fail(path, ":", where.line, ":", where.column, ": ", error.description(), "; prepare the data again");
  }
  DataInfo info;
  info.vocabulary_size = count_in(table, "vocabulary_size", path);
  info.train_tokens = count_in(table, "train_tokens", path);
  info.val_tokens = count_in(table, "val_tokens", path);
  info.characters = count_in(table, "characters", path);
  info.tokenizer = table["tokenizer"].value_or(std::string());
  if (auto file = table["tokenizer_file"].value_exact<std::string>())
    info.tokenizer_path = (std::filesystem::path(path).parent_path() / *file).string();
  if (const toml::array* sources = table["sources"].as_array())
    for (const toml::node& source : *sources) info.sources.push_back(source.value_or(std::string()));
  info.shuffle_seed = table["shuffle_seed"].value_exact<int64_t>();
  return info;
}

std::string data_info_text(const DataInfo& info) {
  std::string text = "# Written by ./prepare.\n";
  auto line = [&](const char* key, const std::string& value) {
    text += fmt::format("{} = {}\n", key, value);
  };
  line("vocabulary_size", fmt::to_string(info.vocabulary_size));
  line("train_tokens", fmt::to_string(info.train_tokens));
  line("val_tokens", fmt::to_string(info.val_tokens));
  line("characters", fmt::to_string(info.characters));
  line("tokenizer", quoted(info.tokenizer));
  if (info.tokenizer_path)
    line("tokenizer_file", quoted(std::filesystem::path(*info.tokenizer_path).filename().string()));
  std::string sources;
  for (const std::string& source : info.sources) sources += (sources.empty() ? "" : ", ") + quoted(source);
  line("sources", "[" + sources + "]");
  if (info.shuffle_seed) line("shuffle_seed", fmt::to_string(*info.shuffle_seed));
  return text;
}

}  // namespace ld
