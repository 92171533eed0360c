#include "training/utf8_stream.h"

#include "training/utf8.h"

namespace ld {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

// Whether more bytes could make `text` one character. Of a first byte alone its range decides; with a second
// byte, the only one with a range of its own, any continuation will do for the rest.
bool could_become_character(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (text.size() == 1) return first >= 0xC2 && first <= 0xF4;
  return utf8_length(std::string(text) + "\x80\x80", 0) > text.size();
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  waiting_ += bytes;
  std::string shown;
  size_t at = 0;
  while (at < waiting_.size()) {
    const std::string_view rest = std::string_view(waiting_).substr(at);
    const size_t length = utf8_length(rest, 0);
    if (length == 0 && could_become_character(rest)) break;
    shown += length ? rest.substr(0, length) : replacement;
    at += length ? length : 1;
  }
  waiting_.erase(0, at);
  return shown;
}

std::string Utf8Stream::finish() {
  std::string shown;
  for (size_t i = 0; i < waiting_.size(); ++i) shown += replacement;
  waiting_.clear();
  return shown;
}

}  // namespace ld
