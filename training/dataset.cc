#include "training/dataset.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>

#include "training/data_info.h"
#include "training/text.h"

namespace ld {

void draw_tokens(int32_t* ids, int32_t* targets, const TokenFile& file, int64_t B, int64_t T,
                 const NoiseKey& key) {
  const auto tokens = file.tokens();
  const auto choices =
      static_cast<uint64_t>(tokens.size()) - static_cast<uint64_t>(T);  // sequence and last target
  for (int64_t b = 0; b < B; ++b) {
    const uint64_t draw = static_cast<uint64_t>(key.bits(b, 0)) << 32 | key.bits(b, 1);
    const auto* first = tokens.data() + draw % choices;
    std::copy_n(first, T, ids + b * T);
    std::copy_n(first + 1, T, targets + b * T);
  }
}

Batch draw_batch(const TokenFile& file, int64_t B, int64_t T, const NoiseKey& key) {
  std::vector<int32_t> ids(static_cast<size_t>(B * T)), targets(ids.size());
  draw_tokens(ids.data(), targets.data(), file, B, T, key);
  return {Tensor::from(ids, {B, T}), Tensor::from(targets, {B, T})};
}

Dataset open_dataset(RunConfig& config) {
  ModelConfig& model = config.model_config;
  const auto info = read_data_info(config.data);
  if (model.alphabet_size == 0) {
    check(info.has_value() || std::filesystem::exists(config.data + "_train.bin"), config.data,
          "_train.bin is not there; make it with `make data` (the default corpus) or `./prepare TEXT --name ",
          std::filesystem::path(config.data).filename().string(), "`");
    check(info.has_value(), config.data,
          ".toml is not there, so the vocabulary size is unknown; set it with ",
          "--set model_config.alphabet_size=N");
    model.alphabet_size = info->vocabulary_size;
  }
  if (info)
    check(info->vocabulary_size <= model.alphabet_size, "model_config.alphabet_size = ", model.alphabet_size,
          " is smaller than the vocabulary of ", config.data, ".toml, ", info->vocabulary_size,
          "; remove it from the config to take the data's");
  auto open = [&](const char* part) {
    const std::string path = config.data + part;
    check(std::filesystem::exists(path), path,
          " is not there; make it with `make data` (the default corpus) or ", "`./prepare TEXT`");
    return TokenFile(path, model.alphabet_size, model.context_size);
  };
  Dataset data{open("_train.bin"), open("_val.bin")};
  auto check_tokens = [&](const char* part, const TokenFile& file, int64_t expected) {
    check(std::ssize(file.tokens()) == expected, config.data, part, ": holds ", std::ssize(file.tokens()),
          " tokens and ", config.data, ".toml says ", expected,
          "; prepare the data again, so that its files belong together");
  };
  if (info) {
    check_tokens("_train.bin", data.train, info->train_tokens);
    check_tokens("_val.bin", data.val, info->val_tokens);
  }
  return data;
}

DataFingerprint fingerprint(const Dataset& data) {
  auto words = [](const TokenFile& file) {
    const auto bytes = std::as_bytes(file.tokens());
    const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    return fmt::format("{} tokens (crc32 {:#010x})", grouped(std::ssize(file.tokens())), crc);
  };
  return {words(data.train), words(data.val)};
}

}  // namespace ld
