// From text files to token files: the work of ./prepare, as a function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "training/data_info.h"

namespace ld {

struct PrepareOptions {
  std::vector<std::string> texts;          // plain or gzip; *.dict.dz is cleaned as a dictionary
  std::string tokenizer = "bpe";           // "bpe" (learn one), "chars", or the file of one that exists
  std::optional<int64_t> vocabulary_size;  // for "bpe": at most; 50257 if not given
  std::string out = "data";                // directory
  std::string name;                        // of the files; the first text's name if empty
  bool shuffle_documents = false;          // documents are what blank lines separate
  int64_t seed = 1337;                     // of the shuffle
};

/// Writes OUT/NAME_train.bin, OUT/NAME_val.bin (raw little-endian uint16), OUT/NAME.tiktoken or .chars and,
/// last, OUT/NAME.toml. The first int(0.9 n) of the n characters are for training, the rest for validation; a
/// BPE is learnt from the training part alone. Tells its progress on standard error unless `quiet`. Error:
/// one line that says what is wrong and what to do; then no file has changed, unless it was the renaming of finished
/// files that failed.
DataInfo prepare_data(const PrepareOptions& options, bool quiet = false);

}  // namespace ld
