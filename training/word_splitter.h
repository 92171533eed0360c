// Cuts text into the words that byte-level BPE works inside of: merges never cross a word's end. The rule is
// GPT-2's, so that its published vocabulary gives its published tokens:
//
//   'Let's go,   world' -> "Let" "'s" " go" "," "  " " world"
//
// letters, digits and other signs each form words of their own and take one leading space with them; of
// several spaces the last one goes to the next word.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace ld {

/// Walks over the words of `text`, which must outlive the splitter. The words, put together, are `text`
/// again, whatever its bytes: a run of bytes that are not UTF-8 is a word too.
///   for (std::string_view word; splitter.next(word);) …
class WordSplitter {
 public:
  explicit WordSplitter(std::string_view text);
  ~WordSplitter();
  WordSplitter(const WordSplitter&) = delete;
  WordSplitter& operator=(const WordSplitter&) = delete;

  /// Sets `word` to the next one; false at the end of the text.
  bool next(std::string_view& word);

 private:
  std::string_view text_;
  size_t at_ = 0;         // end of the last word
  size_t valid_end_ = 0;  // end of the run of valid UTF-8 that `at_` lies in
  struct Match;
  std::unique_ptr<Match> match_;
};

/// Cuts `text` into pieces of about `piece_bytes` bytes, only where a word ends for certain, so that
/// splitting the pieces (on several threads) gives the same words as splitting the whole.
std::vector<std::string_view> cut_between_words(std::string_view text, size_t piece_bytes);

}  // namespace ld
