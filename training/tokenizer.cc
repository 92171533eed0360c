#include "training/tokenizer.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <exception>
#include <set>

#include "engine/error.h"
#include "training/bpe_training.h"
#include "training/utf8.h"
#include "training/word_splitter.h"

namespace ld {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr size_t kPieceBytes = 1 << 18;  // encoded by one thread at a time

// Encodes piece after piece on one thread and remembers words, most of which come again and again.
class BpeEncoder {
 public:
  explicit BpeEncoder(const SymbolIds& ranks) : ranks_(ranks) {}

  std::vector<int32_t> encode(std::string_view piece) {
    std::vector<int32_t> ids;
    ids.reserve(piece.size() / 3);
    WordSplitter splitter(piece);
    for (std::string_view word; splitter.next(word);) append(ids, word);
    return ids;
  }

 private:
  static constexpr size_t kLongestKnown = 64, kMostKnown = 1 << 20;  // bounds the memory

  void append(std::vector<int32_t>& ids, std::string_view word) {
    if (auto found = known_.find(word); found != known_.end()) {
      ids.insert(ids.end(), known_ids_.begin() + found->second.begin, known_ids_.begin() + found->second.end);
      return;
    }
    const auto before = static_cast<std::ptrdiff_t>(ids.size());
    append_bpe(ids, word, ranks_);
    if (word.size() > kLongestKnown || known_.size() >= kMostKnown) return;
    const auto begin = static_cast<std::ptrdiff_t>(known_ids_.size());
    known_ids_.insert(known_ids_.end(), ids.begin() + before, ids.end());
    known_.emplace(word, Range{begin, static_cast<std::ptrdiff_t>(known_ids_.size())});
  }

  struct Range {
    std::ptrdiff_t begin, end;  // in known_ids_
  };
  const SymbolIds& ranks_;
  std::unordered_map<std::string_view, Range> known_;  // the words lie in the text
  std::vector<int32_t> known_ids_;
};

}  // namespace

Tokenizer::Tokenizer(Kind kind, std::vector<std::string> symbols)
    : kind_(kind), symbols_(std::move(symbols)) {
  for (size_t id = 0; id < symbols_.size(); ++id) ids_.emplace(symbols_[id], static_cast<int32_t>(id));
}

Tokenizer Tokenizer::train_bpe(std::string_view text, int64_t vocabulary_size, const ProgressReport& report) {
  check(vocabulary_size >= 257, "tokenizer: a BPE vocabulary has at least 257 tokens (256 bytes and ",
        kEndOfText, "), not ", vocabulary_size);
  return Tokenizer(Kind::bpe, learn_bpe(text, vocabulary_size - 1, report));
}

Tokenizer Tokenizer::chars(std::string_view text) {
  std::array<bool, 128> ascii{};
  std::set<std::string, std::less<>> characters, strays;
  for (size_t at = 0, length; at < text.size(); at += length) {
    length = character_length(text, at);
    if (auto byte = static_cast<unsigned char>(text[at]); byte < 128) {
      ascii[byte] = true;  // nearly all of most texts, so kept away from the set
      continue;
    }
    auto& set = utf8_length(text, at) ? characters : strays;
    std::string_view symbol = text.substr(at, length);
    if (!set.contains(symbol)) set.emplace(symbol);
  }
  std::vector<std::string> symbols;
  for (int byte = 0; byte < 128; ++byte)
    if (ascii[byte]) symbols.emplace_back(1, static_cast<char>(byte));
  symbols.insert(symbols.end(), characters.begin(),
                 characters.end());  // byte order of UTF-8 = code point order
  symbols.insert(symbols.end(), strays.begin(), strays.end());
  return Tokenizer(Kind::chars, std::move(symbols));
}

int64_t Tokenizer::vocabulary_size() const {
  return static_cast<int64_t>(symbols_.size()) + (kind_ == Kind::bpe ? 1 : 0);
}

std::optional<int32_t> Tokenizer::end_of_text() const {
  if (kind_ == Kind::chars) return std::nullopt;
  return static_cast<int32_t>(symbols_.size());
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const ProgressReport& report) const {
  return kind_ == Kind::bpe ? encode_bpe(text, report) : encode_chars(text);
}

std::vector<int32_t> Tokenizer::encode_bpe(std::string_view text, const ProgressReport& report) const {
  const std::vector<std::string_view> pieces = cut_between_words(text, kPieceBytes);
  std::vector<std::vector<int32_t>> encoded(pieces.size());
  std::exception_ptr error;  // an exception must not leave a parallel region
  size_t done = 0;
#pragma omp parallel if (pieces.size() > 1)
  {
    BpeEncoder encoder(ids_);
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < pieces.size(); ++i) try {
        encoded[i] = encoder.encode(pieces[i]);
        size_t so_far = 0;
#pragma omp atomic capture
        so_far = ++done;
        if (report && omp_get_thread_num() == 0) report(double(so_far) / double(pieces.size()));
      } catch (...) {
#pragma omp critical
        error = std::current_exception();
      }
  }
  if (error) std::rethrow_exception(error);
  std::vector<int32_t> ids;
  size_t total = 0;
  for (const auto& part : encoded) total += part.size();
  ids.reserve(total);
  for (auto& part : encoded) {
    ids.insert(ids.end(), part.begin(), part.end());
    std::vector<int32_t>().swap(part);
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_chars(std::string_view text) const {
  std::array<int32_t, 256> of_byte;  // the symbol of a lone byte
  for (int byte = 0; byte < 256; ++byte) {
    const char symbol = static_cast<char>(byte);
    auto found = ids_.find(std::string_view(&symbol, 1));
    of_byte[byte] = found == ids_.end() ? -1 : found->second;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (size_t at = 0, length; at < text.size(); at += length) {
    length = character_length(text, at);
    int32_t id = -1;
    if (length == 1) {
      id = of_byte[static_cast<unsigned char>(text[at])];
    } else if (auto found = ids_.find(text.substr(at, length)); found != ids_.end()) {
      id = found->second;
    }
    check(id >= 0, "tokenizer: the character '", text.substr(at, length), "' is none of the ",
          symbols_.size(), " characters that this tokenizer was made from; leave it out");
    ids.push_back(id);
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens) const {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int32_t token = tokens[i];
    check(token >= 0 && token < vocabulary_size(), "tokenizer: token ", token, " at index ", i,
          " is outside of the vocabulary of ", vocabulary_size(), "; the tokens come from another tokenizer");
    text += static_cast<size_t>(token) < symbols_.size() ? std::string_view(symbols_[token]) : kEndOfText;
  }
  return text;
}

}  // namespace ld
