// The two file formats of Tokenizer.
//
//   bpe: one line per symbol, in any order          chars: a header, then one line per symbol in the order of
//   ids
//     IQ== 0                                          chars 65
//     Ig== 1                                          U+000A
//     …                                               U+0041 A          (the character itself is for the
//     reader) IHRoZQ== 262                                    byte 0xFF         (a byte that was not UTF-8)
#include <array>
#include <charconv>

#include "engine/error.h"
#include "training/safe_file.h"
#include "training/tokenizer.h"
#include "training/utf8.h"

namespace ld {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kHexDigits = "0123456789ABCDEF";

std::string base64_of(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? kBase64[bits >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

// False when `text` is not base64 of at least one byte.
bool base64_to(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t value = i < text.size() - padding ? kBase64.find(text[i]) : 0;
    if (value == kBase64.npos) return false;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 == 3)
      for (int shift = 16; shift >= 0; shift -= 8) bytes += static_cast<char>(bits >> shift);
  }
  bytes.resize(bytes.size() - padding);
  return true;
}

// A whole string as a number >= 0; false when it is anything else.
bool number_in(std::string_view text, int base, int64_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() && value >= 0 && !text.empty();
}

// Hands out the lines of a file and says where an error is.
struct Lines {
  std::string_view rest;
  const std::string& name;
  int64_t number = 0;

  bool next(std::string_view& line) {
    if (rest.empty()) return false;
    const size_t end = rest.find('\n');
    line = rest.substr(0, end);
    rest = end == rest.npos ? std::string_view() : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++number;
    return true;
  }
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(name, ":", number, ": ", parts...);
  }
};

std::string quoted(std::string_view line) {
  std::string text = "'";
  for (char c : line.substr(0, 40)) text += c >= ' ' && c < 127 ? c : '?';
  return text + (line.size() > 40 ? "…'" : "'");
}

std::vector<std::string> parse_ranks(Lines lines) {
  constexpr const char* kExpected = "a tokenizer file has lines `base64 rank` (or begins with `chars COUNT`)";
  std::vector<std::string> symbols;
  std::unordered_map<std::string, int64_t> line_of;  // symbol -> the line it stands in
  std::string symbol;
  for (std::string_view line; lines.next(line);) {
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    int64_t rank = 0;
    if (space == line.npos || !base64_to(line.substr(0, space), symbol))
      lines.refuse("not base64 and a rank: ", quoted(line), "; ", kExpected);
    if (!number_in(line.substr(space + 1), 10, rank) || rank > 1'000'000)
      lines.refuse("not a rank: ", quoted(line.substr(space + 1)), "; ", kExpected);
    auto [first, is_new] = line_of.try_emplace(symbol, lines.number);
    if (!is_new) lines.refuse("the same symbol as in line ", first->second, "; every symbol has one rank");
    if (static_cast<size_t>(rank) >= symbols.size()) symbols.resize(rank + 1);
    if (!symbols[rank].empty())
      lines.refuse("rank ", rank, " again, after line ", line_of[symbols[rank]],
                   "; every rank has one symbol");
    symbols[rank] = symbol;
  }
  check(!symbols.empty(), lines.name, " is empty; ", kExpected);
  for (size_t rank = 0; rank < symbols.size(); ++rank)
    check(!symbols[rank].empty(), lines.name, ": rank ", rank, " is missing (the highest is ",
          symbols.size() - 1, "); the file has lost a line");
  for (int byte = 0; byte < 256; ++byte)
    check(line_of.contains(std::string(1, static_cast<char>(byte))), lines.name, ": the single byte ", byte,
          " has no rank, so not every text could be encoded; a byte-level BPE has all 256");
  return symbols;
}

std::string parse_character(const Lines& lines, std::string_view line) {
  const bool stray = line.starts_with("byte 0x");
  int64_t value = -1;
  if (stray || line.starts_with("U+")) {
    line.remove_prefix(stray ? 7 : 2);
    std::string_view digits = line.substr(0, line.find(' '));
    if (number_in(digits, 16, value) && stray && value >= 0x80 && value <= 0xFF)
      return std::string(1, static_cast<char>(value));
    if (value >= 0 && value < 0x110000 && !stray)
      if (std::string symbol = utf8_of(static_cast<uint32_t>(value)); !symbol.empty()) return symbol;
  }
  lines.refuse("not a character: ", quoted(line), "; expected `U+0041 A`, or `byte 0xFF`");
}

std::vector<std::string> parse_characters(Lines lines) {
  std::string_view line;
  lines.next(line);
  int64_t count = 0;
  if (!number_in(line.substr(6), 10, count)) lines.refuse("expected `chars COUNT`, found ", quoted(line));
  std::vector<std::string> symbols;
  std::unordered_map<std::string, int64_t> line_of;
  while (lines.next(line)) {
    if (line.empty()) continue;
    symbols.push_back(parse_character(lines, line));
    auto [first, is_new] = line_of.try_emplace(symbols.back(), lines.number);
    if (!is_new) lines.refuse("the same character as in line ", first->second);
  }
  check(count > 0 && static_cast<int64_t>(symbols.size()) == count, lines.name, ":1: says `chars ", count,
        "`, but ", symbols.size(), " characters follow; the file has lost or gained lines");
  return symbols;
}

std::string hexadecimal(uint32_t value, size_t digits) {
  std::string text;
  for (; value || text.size() < digits; value >>= 4) text.insert(0, 1, kHexDigits[value & 15]);
  return text;
}

}  // namespace

Tokenizer Tokenizer::read(const std::string& path) { return parse(read_file(path), path); }

Tokenizer Tokenizer::parse(std::string_view file, const std::string& name) {
  Lines lines{file, name};
  if (file.starts_with("chars ")) return Tokenizer(Kind::chars, parse_characters(lines));
  return Tokenizer(Kind::bpe, parse_ranks(lines));
}

std::string Tokenizer::file_text() const {
  std::string text;
  if (kind_ == Kind::bpe) {
    for (size_t id = 0; id < symbols_.size(); ++id)
      text += base64_of(symbols_[id]) + " " + std::to_string(id) + "\n";
    return text;
  }
  text = "chars " + std::to_string(symbols_.size()) + "\n";
  for (const std::string& symbol : symbols_) {
    if (utf8_length(symbol, 0) == 0) {
      text += "byte 0x" + hexadecimal(static_cast<unsigned char>(symbol[0]), 2) + "\n";
      continue;
    }
    const uint32_t value = code_point(symbol);
    text += "U+" + hexadecimal(value, 4);
    if (value > ' ' && !(value >= 0x7F && value < 0xA0) && value != 0x2028 && value != 0x2029)
      text += " " + symbol;
    text += "\n";
  }
  return text;
}

}  // namespace ld
