// Characters of text that may or may not be UTF-8. One rule everywhere: a character is one valid UTF-8
// sequence (no overlong forms, no surrogates, at most U+10FFFF), and a byte that belongs to none counts as a
// character of its own. So every text, even a binary one, is a sequence of characters, and cutting it between
// two of them loses nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ld {

/// Bytes (1..4) of the valid UTF-8 character that starts at `text[at]`, or 0 when none does. `at <
/// text.size()`.
inline size_t utf8_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() - at < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  unsigned second = byte(1);
  if (first == 0xE0 && second < 0xA0) return 0;  // overlong
  if (first == 0xED && second > 0x9F) return 0;  // UTF-16 surrogate
  if (first == 0xF0 && second < 0x90) return 0;  // overlong
  if (first == 0xF4 && second > 0x8F) return 0;  // beyond U+10FFFF
  return length;
}

/// Bytes of the character at `text[at]`, valid or not: a stray byte is 1 byte long.
inline size_t character_length(std::string_view text, size_t at) {
  size_t length = utf8_length(text, at);
  return length ? length : 1;
}

/// Number of characters in `text`.
inline int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); at += character_length(text, at)) ++count;
  return count;
}

/// Byte offset at which the first `characters` characters of `text` end.
inline size_t bytes_of_characters(std::string_view text, int64_t characters) {
  size_t at = 0;
  for (int64_t i = 0; i < characters && at < text.size(); ++i) at += character_length(text, at);
  return at;
}

/// Unicode code point of the valid character `symbol` (1..4 bytes).
inline uint32_t code_point(std::string_view symbol) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(symbol[i]); };
  if (symbol.size() == 1) return byte(0);
  uint32_t value = byte(0) & (0xFFu >> (symbol.size() + 1));
  for (size_t i = 1; i < symbol.size(); ++i) value = value << 6 | (byte(i) & 0x3F);
  return value;
}

/// UTF-8 of `value`; empty when it is no character (a surrogate, or beyond U+10FFFF).
inline std::string utf8_of(uint32_t value) {
  auto part = [](uint32_t bits) { return static_cast<char>(bits); };
  auto tail = [&](uint32_t bits) { return part(0x80 | (bits & 0x3F)); };
  if (value < 0x80) return {part(value)};
  if (value < 0x800) return {part(0xC0 | value >> 6), tail(value)};
  if (value >= 0xD800 && value < 0xE000) return {};
  if (value < 0x10000) return {part(0xE0 | value >> 12), tail(value >> 6), tail(value)};
  if (value < 0x110000) return {part(0xF0 | value >> 18), tail(value >> 12), tail(value >> 6), tail(value)};
  return {};
}

}  // namespace ld
