// NAME.toml beside NAME_train.bin and NAME_val.bin: what ./prepare knows about the tokens it wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ld {

struct DataInfo {
  int64_t vocabulary_size = 0;
  int64_t train_tokens = 0, val_tokens = 0;
  int64_t characters = 0;                          // of the whole text
  std::string tokenizer = {};                      // "bpe" or "chars"
  std::optional<std::string> tokenizer_path = {};  // for Tokenizer::read
  std::vector<std::string> sources = {};           // file names of the text
  std::optional<int64_t> shuffle_seed = {};        // set if the documents were shuffled
};

/// Reads `prefix`.toml, "data/gcide" for example; nothing if that file does not exist. Error:
/// FILE:LINE:COLUMN, or the key that is missing or of the wrong kind.
std::optional<DataInfo> read_data_info(const std::string& prefix);

/// The file's text. Of `tokenizer_path` only the file name goes in: it lies in the same directory.
std::string data_info_text(const DataInfo& info);

}  // namespace ld
