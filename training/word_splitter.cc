#include "training/word_splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/error.h"
#include "training/utf8.h"

namespace ld {
namespace {

// White space is spelt out as Unicode's White_Space property; PCRE2's own \s differs from it in one
// character. Repetitions are possessive (++) where nothing after them could need a character back.
constexpr char pattern_text[] =
    R"('(?:[stmd]|re|ve|ll)|\x20?\p{L}++|\x20?\p{N}++|\x20?[^\p{L}\p{N}\p{Z}\x09-\x0d\x85]++)"
    R"(|[\p{Z}\x09-\x0d\x85]+(?![^\p{Z}\x09-\x0d\x85])|[\p{Z}\x09-\x0d\x85]++)";

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// Compiled once and then only read, so that threads may share it.
const pcre2_code* word_pattern() {
  static const pcre2_code* const pattern = [] {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_text), PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr);
    check(code != nullptr, "tokenizer: PCRE2 does not take the word pattern at ", offset, ": ",
          pcre2_message(error), "; this needs a PCRE2 built with Unicode support");
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter serves, slower
    return code;
  }();
  return pattern;
}

}  // namespace

struct WordSplitter::Match {
  pcre2_match_data* data = pcre2_match_data_create_from_pattern(word_pattern(), nullptr);
  ~Match() { pcre2_match_data_free(data); }
};

WordSplitter::WordSplitter(std::string_view text) : text_(text), match_(std::make_unique<Match>()) {
  check(match_->data != nullptr, "tokenizer: no memory for PCRE2's match data");
}

WordSplitter::~WordSplitter() = default;

bool WordSplitter::next(std::string_view& word) {
  if (at_ == text_.size()) return false;
  const size_t begin = at_;
  if (at_ == valid_end_) {  // at the start, or just behind a run: measure the next one
    while (at_ < text_.size() && utf8_length(text_, at_) == 0) ++at_;
    valid_end_ = at_;
    while (valid_end_ < text_.size()) {
      size_t length = utf8_length(text_, valid_end_);
      if (length == 0) break;
      valid_end_ += length;
    }
    if (at_ > begin) {  // bytes that are not UTF-8 came first: they are this word
      word = text_.substr(begin, at_ - begin);
      return true;
    }
  }
  // The run has just been found valid, so PCRE2 need not look again (its own check would take quadratic
  // time). An empty match is impossible, and every character begins one of the pattern's alternatives.
  int found = pcre2_match(word_pattern(), reinterpret_cast<PCRE2_SPTR>(text_.data()), valid_end_, begin,
                          PCRE2_NO_UTF_CHECK, match_->data, nullptr);
  check(found > 0, "tokenizer: PCRE2 failed at byte ", begin, " of the text: ", pcre2_message(found));
  at_ = pcre2_get_ovector_pointer(match_->data)[1];
  word = text_.substr(begin, at_ - begin);
  return true;
}

std::vector<std::string_view> cut_between_words(std::string_view text, size_t piece_bytes) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    size_t end = std::min(piece_bytes, text.size());
    // No word holds a visible ASCII character followed by white space, and none looks past that place.
    while (end < text.size() &&
           !((text[end] == ' ' || text[end] == '\n') && text[end - 1] > ' ' && text[end - 1] < 127))
      ++end;
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

}  // namespace ld
