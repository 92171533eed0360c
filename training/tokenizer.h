// Text <-> token ids. Two kinds:
//   bpe    byte-level BPE as GPT-2's; a file of lines `base64-of-the-symbol rank`, the format of OpenAI's
//   tiktoken; chars  one symbol per Unicode character that the text holds; a file a person can read.
// For both, decode(encode(text)) is `text` again, whatever its bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "training/bpe.h"
#include "training/console.h"

namespace ld {

class Tokenizer {
 public:
  enum class Kind { bpe, chars };

  /// Reads either kind of file. Error: FILE:LINE: what is wrong.
  static Tokenizer read(const std::string& path);
  /// The same from a file's text; `name` is what errors call it.
  static Tokenizer parse(std::string_view file, const std::string& name);

  /// Learns a BPE vocabulary of `vocabulary_size` tokens (>= 257: the bytes, the merges, <|endoftext|>). A
  /// small text yields fewer; ask vocabulary_size() of the result.
  static Tokenizer train_bpe(std::string_view text, int64_t vocabulary_size,
                             const ProgressReport& report = {});

  /// One symbol for each different character of `text`, in the order of their code points; behind them one
  /// for each different byte that belongs to no UTF-8 character.
  static Tokenizer chars(std::string_view text);

  /// Tokens of `text`, each in [0, vocabulary_size). The text "<|endoftext|>" is text like any other. Uses
  /// all processors; the result does not depend on how many. Error (chars only): a character without a
  /// symbol.
  std::vector<int32_t> encode(std::string_view text, const ProgressReport& report = {}) const;

  /// Bytes of `tokens`. Error: a token outside of [0, vocabulary_size).
  std::string decode(std::span<const int32_t> tokens) const;

  /// One more than the highest token.
  int64_t vocabulary_size() const;

  /// The token that separates documents: the one behind the last rank. A chars tokenizer has none.
  std::optional<int32_t> end_of_text() const;

  Kind kind() const { return kind_; }
  const char* kind_name() const { return kind_ == Kind::bpe ? "bpe" : "chars"; }

  /// The file that `read` understands.
  std::string file_text() const;

 private:
  Tokenizer(Kind kind, std::vector<std::string> symbols);
  std::vector<int32_t> encode_bpe(std::string_view text, const ProgressReport& report) const;
  std::vector<int32_t> encode_chars(std::string_view text) const;

  Kind kind_;
  std::vector<std::string> symbols_;  // [id], without <|endoftext|>
  SymbolIds ids_;
};

}  // namespace ld
