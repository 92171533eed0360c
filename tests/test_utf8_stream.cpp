#include <doctest/doctest.h>

#include "engine/random.h"
#include "training/utf8.h"
#include "training/utf8_stream.h"

namespace ld {
namespace {

const std::string bad = "\xEF\xBF\xBD";  // U+FFFD

std::string shown(const std::string& bytes) {
  Utf8Stream stream;
  std::string text = stream.push(bytes);
  return text + stream.finish();
}

// What a stream should show of a whole text.
std::string replaced(const std::string& bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += character_length(bytes, at))
    text += utf8_length(bytes, at) ? bytes.substr(at, utf8_length(bytes, at)) : bad;
  return text;
}

}  // namespace

TEST_CASE("utf8 stream: a character waits until it is complete") {
  Utf8Stream stream;
  CHECK(stream.push("a\xC3") == "a");
  CHECK(stream.push("\xA9") == "é");
  CHECK(stream.push("\xF0") == "");
  CHECK(stream.push("\x9F\x98") == "");
  CHECK(stream.push("\x80!") == "😀!");
  CHECK(stream.finish() == "");
}

TEST_CASE("utf8 stream: a byte of no character is shown as U+FFFD at once") {
  CHECK(shown("a\xFFz") == "a" + bad + "z");
  CHECK(shown("\x80") == bad);
  CHECK(shown("\xC0\xAF") == bad + bad);            // overlong
  CHECK(shown("\xED\xA0\x80") == bad + bad + bad);  // a surrogate
  Utf8Stream stream;
  CHECK(stream.push("\xC1") == bad);  // begins nothing, so nothing to wait for
  CHECK(stream.push("\xF5") == bad);
  CHECK(stream.push("\xE2\x82") == "");
  CHECK(stream.push("(") == bad + bad + "(");
  CHECK(stream.push("\xF4\x90") == bad + bad);  // beyond U+10FFFF: nothing to wait for
  CHECK(stream.push("\xE0\x80") == bad + bad);  // overlong
}

TEST_CASE("utf8 stream: at the end what still waits is shown") {
  Utf8Stream stream;
  CHECK(stream.push("\xF0\x9F\x98") == "");
  CHECK(stream.finish() == bad + bad + bad);
  CHECK(stream.push("b") == "b");
}

TEST_CASE("utf8 stream: pieces of any bytes show what the whole shows, and wait for 3 bytes at most") {
  const std::string alphabet = "a\x80\x9F\xA0\xBF\xC3\xE0\xE2\xED\xF0\xF4\xFF";
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const NoiseKey key{.seed = seed};
    std::string bytes, text;
    Utf8Stream stream;
    size_t waiting = 0;
    for (int64_t i = 0; i < 60; ++i) {
      const std::string byte(1, alphabet[key.bits(0, i) % alphabet.size()]);
      bytes += byte;
      const std::string part = stream.push(byte);
      waiting = part.empty() ? waiting + 1 : 0;
      CHECK(waiting <= 3);
      text += part;
    }
    CHECK(text + stream.finish() == replaced(bytes));
  }
}

}  // namespace ld
