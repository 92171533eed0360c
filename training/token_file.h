// A file of tokens to train on, mapped into memory: opening one of a hundred gigabytes costs a scan, not a
// copy.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace ld {

/// Raw little-endian uint16 (nanoGPT's format, ours), or the same behind llm.c's header of 256 int32 (magic
/// 20240520, version 1, number of tokens).
class TokenFile {
 public:
  /// Refuses, naming the file and both sides: a file that is missing or damaged, one with fewer than
  /// `context_size` + 1 tokens (one sequence and its last target), a token that is not below
  /// `vocabulary_size`.
  TokenFile(const std::string& path, int64_t vocabulary_size, int64_t context_size);
  ~TokenFile();
  TokenFile(TokenFile&& other) noexcept;
  TokenFile& operator=(TokenFile&& other) noexcept;

  std::span<const uint16_t> tokens() const { return tokens_; }

 private:
  void map();
  void find_tokens();
  void check_tokens(int64_t vocabulary_size, int64_t context_size) const;

  std::string path_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
  std::span<const uint16_t> tokens_;
};

}  // namespace ld
