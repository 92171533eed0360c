// Tokenizers: identity on every text, GPT-2's splitting, hand-computed merges, and files that are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "training/bpe_training.h"
#include "training/tokenizer.h"
#include "training/utf8.h"
#include "training/word_splitter.h"

using namespace ld;

namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  WordSplitter splitter(text);
  for (std::string_view word; splitter.next(word);) words.emplace_back(word);
  return words;
}

using Words = std::vector<std::string>;
using Tokens = std::vector<int32_t>;

// A rank file whose first 256 symbols are the bytes, then `merges`.
Tokenizer with_merges(const std::vector<std::string>& merges) {
  static constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string file;
  auto add = [&](const std::string& symbol, int rank) {
    for (size_t i = 0; i < symbol.size(); i += 3) {
      std::string part = symbol.substr(i, 3);
      unsigned bits = 0;
      for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < part.size() ? (unsigned char)part[j] : 0);
      for (size_t j = 0; j < 4; ++j) file += j <= part.size() ? kBase64[bits >> (18 - 6 * j) & 63] : '=';
    }
    file += " " + std::to_string(rank) + "\n";
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, char(byte)), byte);
  for (size_t i = 0; i < merges.size(); ++i) add(merges[i], 256 + int(i));
  return Tokenizer::parse(file, "test.tiktoken");
}

std::string random_bytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  static const std::string pieces[] = {" ",    "\n",   "the",      "'s",   "é",    "漢",
                                       "🙂", "\xC3", "\xE2\x82", "\xF5", "\xA0", "\x85"};
  std::string text;
  while (text.size() < count) text += random() % 3 ? pieces[random() % 12] : std::string(1, char(random()));
  return text;
}

std::string error_of(const std::string& file) {
  try {
    Tokenizer::parse(file, "F");
  } catch (const Error& error) {
    return error.what();
  }
  return "(accepted)";
}

std::string plain_ranks() { return Tokenizer::train_bpe("", 257).file_text(); }

}  // namespace

TEST_CASE("utf8: valid characters are measured, everything else is a byte of its own") {
  CHECK(utf8_length("a", 0) == 1);
  CHECK(utf8_length("é", 0) == 2);
  CHECK(utf8_length("漢", 0) == 3);
  CHECK(utf8_length("🙂", 0) == 4);
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xC3z", "\xE6\xBC", "\xFF"})
    CHECK_MESSAGE(utf8_length(bad, 0) == 0, bad);
  CHECK(count_characters("aé漢🙂\xFF\xE6\xBC") == 7);
  CHECK(bytes_of_characters("aé漢", 2) == 3);
  CHECK(bytes_of_characters("aé漢", 9) == 6);
  for (uint32_t point : {0x41u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    CHECK(code_point(utf8_of(point)) == point);
    CHECK(utf8_length(utf8_of(point), 0) == utf8_of(point).size());
  }
  CHECK(utf8_of(0xD800).empty());
  CHECK(utf8_of(0x110000).empty());
}

TEST_CASE("words: GPT-2's rule") {
  CHECK(words_of("Let's go,   world") == Words{"Let", "'s", " go", ",", "  ", " world"});
  CHECK(words_of("I'll they've we're I'm he'd don't") ==
        Words{"I", "'ll", " they", "'ve", " we", "'re", " I", "'m", " he", "'d", " don", "'t"});
  CHECK(words_of("'S 'sup") == Words{"'", "S", " '", "sup"});
  CHECK(words_of("abc123 45!?") == Words{"abc", "123", " 45", "!?"});
  CHECK(words_of("a \n\n b") == Words{"a", " \n\n", " b"});
  CHECK(words_of("a\nb") == Words{"a", "\n", "b"});
  CHECK(words_of("a  ") == Words{"a", "  "});
  CHECK(words_of("naïve \u00A0x\u3000y") == Words{"naïve", " ", "\u00A0", "x", "\u3000", "y"});
  CHECK(words_of("x \u0085 y") == Words{"x", " \u0085", " y"});
  CHECK(words_of("²½ ٣") == Words{"²½", " ٣"});                    // \p{N}: all kinds of numbers
  CHECK(words_of("\x1Cx\u180E") == Words{"\x1C", "x", "\u180E"});  // neither is White_Space
  CHECK(words_of("ab\xFF\xFE c\xC3") == Words{"ab", "\xFF\xFE", " c", "\xC3"});
  CHECK(words_of("").empty());
}

TEST_CASE("words: put together they are the text, and cutting between words changes none") {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::string text = random_bytes(3000, seed);
    const Words words = words_of(text);
    std::string joined;
    for (const std::string& word : words) joined += word;
    REQUIRE(joined == text);
    Words of_pieces;
    for (std::string_view piece : cut_between_words(text, 1 + seed * 7))
      for (std::string& word : words_of(piece)) of_pieces.push_back(word);
    REQUIRE(of_pieces == words);
  }
}

TEST_CASE("bpe: the lowest rank merges first, the leftmost of equals") {
  const Tokenizer t = with_merges({"bc", "ab", "abc", "aa"});  // ids 256 257 258 259
  CHECK(t.vocabulary_size() == 261);
  CHECK(t.end_of_text() == 260);
  CHECK(t.encode("ab") == Tokens{257});
  CHECK(t.encode("abc") == Tokens{258});  // the word itself is a symbol
  CHECK(t.encode("abcb") ==
        Tokens{258, 'b'});  // bc, then a+bc: found by its bytes, not by the pair it came from
  CHECK(t.encode("abd") == Tokens{257, 'd'});
  CHECK(t.encode("aab") == Tokens{'a', 257});  // ab ranks before aa
  CHECK(t.encode("aaa") == Tokens{259, 'a'});  // leftmost
  CHECK(t.encode("aaaaa") == Tokens{259, 259, 'a'});
  CHECK(t.encode("ab bc") == Tokens{257, ' ', 256});
  CHECK(t.encode("a'b") == Tokens{'a', '\'', 'b'});
  CHECK(t.encode("").empty());
  CHECK(t.decode(Tokens{258, 260, 'x'}) == "abc<|endoftext|>x");
  CHECK(t.encode("<|endoftext|>").size() == 13);  // in a text it is text
  CHECK_THROWS_WITH_AS(t.decode(Tokens{0, 261}), doctest::Contains("token 261 at index 1"), Error);
  CHECK_THROWS_AS(t.decode(Tokens{-1}), Error);
}

TEST_CASE("bpe: training finds the known merges") {
  // a b: 4+1 times, b c: 4; "ab" is merged first, then ab+c (4), then x+y (2).
  const auto symbols = learn_bpe("abc.abc.abc.abc.ab.xy.xy.q", 1000);
  REQUIRE(symbols.size() == 259);  // and stops there: no other pair occurs twice
  CHECK(symbols[0] == std::string(1, '\0'));
  CHECK(symbols[255] == "\xFF");
  CHECK(symbols[256] == "ab");
  CHECK(symbols[257] == "abc");
  CHECK(symbols[258] == "xy");
  CHECK(learn_bpe("abc.abc.abc.abc.ab.xy.xy.q", 258).size() == 258);
}

TEST_CASE("bpe: ties go to the lower left symbol, then to the lower right one") {
  const auto symbols = learn_bpe("zb.zb.yc.yc.ya.ya", 1000);
  REQUIRE(symbols.size() == 259);
  CHECK(symbols[256] == "ya");
  CHECK(symbols[257] == "yc");
  CHECK(symbols[258] == "zb");
}

TEST_CASE("bpe: counts stay right where occurrences of a pair overlap") {
  // aaaa twice: aa -> XX twice; then XX -> Y. After that nothing is left.
  const auto symbols = learn_bpe("aaaa.aaaa", 1000);
  REQUIRE(symbols.size() == 258);
  CHECK(symbols[256] == "aa");
  CHECK(symbols[257] == "aaaa");
}

// The plainest trainer there is: count all pairs anew for every merge.
static std::vector<std::string> learn_slowly(const std::string& text, size_t size) {
  std::vector<std::string> symbols;
  for (int byte = 0; byte < 256; ++byte) symbols.emplace_back(1, char(byte));
  std::vector<std::vector<int>> words;
  for (const std::string& word : words_of(text)) {
    words.emplace_back();
    for (unsigned char byte : word) words.back().push_back(byte);
  }
  while (symbols.size() < size) {
    std::map<std::pair<int, int>, int> counts;
    for (const auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    std::pair<int, int> best;
    int most = 1;
    for (const auto& [pair, count] : counts)
      if (count > most) most = count, best = pair;
    if (most < 2) break;
    const std::string bytes = symbols[best.first] + symbols[best.second];
    auto known = std::find(symbols.begin(), symbols.end(), bytes);
    const int merged = int(known - symbols.begin());
    if (known == symbols.end()) symbols.push_back(bytes);
    for (auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i)
        if (word[i] == best.first && word[i + 1] == best.second) {
          word[i] = merged;
          word.erase(word.begin() + std::ptrdiff_t(i) + 1);
        }
  }
  return symbols;
}

TEST_CASE("bpe: the fast trainer learns what the plainest one learns") {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    std::string text;
    for (int i = 0; i < 400; ++i) text += std::string("aaaabbc. ")[random() % 9];
    CHECK(learn_bpe(text, 330) == learn_slowly(text, 330));
  }
}

TEST_CASE("tokenizers: decode(encode(text)) is the text, whatever its bytes") {
  const Tokenizer learned = Tokenizer::train_bpe(random_bytes(20000, 1), 400);
  CHECK(learned.vocabulary_size() == 400);
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const std::string text = random_bytes(5000, 100 + seed);
    REQUIRE(learned.decode(learned.encode(text)) == text);
    const Tokenizer chars = Tokenizer::chars(text);
    const Tokens tokens = chars.encode(text);
    REQUIRE(chars.decode(tokens) == text);
    REQUIRE(int64_t(tokens.size()) == count_characters(text));
    for (int32_t token : tokens) REQUIRE((token >= 0 && token < chars.vocabulary_size()));
  }
}

TEST_CASE("tokenizers: a text of many pieces, on all threads, gives the tokens of its words one by one") {
  const Tokenizer t = Tokenizer::train_bpe("the cat sat on the mat. the cat sat.", 300);
  const std::string text = random_bytes(600'000, 3);
  Tokens expected;
  for (std::string_view piece : cut_between_words(text, 10'000))  // far shorter than what one thread gets
    for (int32_t token : t.encode(piece)) expected.push_back(token);
  CHECK(t.encode(text) == expected);
  CHECK(t.decode(expected) == text);
}

TEST_CASE("tokenizers: one endless word takes no endless time") {
  const Tokenizer t = with_merges({"aa", "aaaa"});
  const std::string text(100'001, 'a');
  CHECK(t.encode(text).size() == 25'001);
  CHECK(learn_bpe(text, 260).size() == 260);
}

TEST_CASE("chars: symbols in the order of code points, stray bytes behind them") {
  const Tokenizer t = Tokenizer::chars("bé\na\xFF漢a");
  CHECK(t.vocabulary_size() == 6);
  CHECK(t.encode("\nabé漢\xFF") == Tokens{0, 1, 2, 3, 4, 5});
  CHECK(t.file_text() == "chars 6\nU+000A\nU+0061 a\nU+0062 b\nU+00E9 é\nU+6F22 漢\nbyte 0xFF\n");
  CHECK(!t.end_of_text());
  CHECK_THROWS_WITH_AS(t.encode("ab?"), doctest::Contains("character '?' is none of the"), Error);
}

TEST_CASE("tokenizer files: what is written reads back the same") {
  const std::string text = random_bytes(4000, 5);
  for (const Tokenizer& t : {Tokenizer::train_bpe(text, 350), Tokenizer::chars(text)}) {
    const Tokenizer again = Tokenizer::parse(t.file_text(), "again");
    CHECK(again.file_text() == t.file_text());
    CHECK(again.vocabulary_size() == t.vocabulary_size());
    CHECK(again.encode(text) == t.encode(text));
  }
  CHECK(with_merges({"abc"}).file_text().ends_with("/w== 255\nYWJj 256\n"));
}

TEST_CASE("tokenizer files: bad ones are refused with the line") {
  const std::string good = plain_ranks();
  CHECK(error_of(good) == "(accepted)");
  CHECK(error_of(good + "YWI= 256\r\n\n") == "(accepted)");
  CHECK(error_of("").starts_with("F is empty"));
  CHECK(error_of(good + "hello\n").starts_with("F:257: not base64 and a rank: 'hello'"));
  CHECK(error_of(good + "YW$= 256\n").starts_with("F:257: not base64"));
  CHECK(error_of(good + "Y=== 256\n").starts_with("F:257: not base64"));
  CHECK(error_of(good + "YWI= x\n").starts_with("F:257: not a rank: 'x'"));
  CHECK(error_of(good + "YWI= -1\n").starts_with("F:257: not a rank"));
  CHECK(error_of(good + "YWI= 99999999999\n").starts_with("F:257: not a rank"));
  CHECK(error_of(good + "YWI= 255\n").starts_with("F:257: rank 255 again, after line 256"));
  CHECK(error_of(good + "AA== 256\n").starts_with("F:257: the same symbol as in line 1"));
  CHECK(error_of(good + "YWI= 257\n").starts_with("F: rank 256 is missing"));
  CHECK(error_of("YQ== 0\n").starts_with("F: the single byte 0 has no rank"));
  CHECK(error_of("chars x\n").starts_with("F:1: expected `chars COUNT`"));
  CHECK(error_of("chars 2\nU+0041 A\n").starts_with("F:1: says `chars 2`, but 1 characters"));
  CHECK(error_of("chars 1\nA\n").starts_with("F:2: not a character: 'A'"));
  CHECK(error_of("chars 1\nU+D800\n").starts_with("F:2: not a character"));
  CHECK(error_of("chars 1\nbyte 0x41\n").starts_with("F:2: not a character"));
  CHECK(error_of("chars 2\nU+0041\nU+0041 A\n").starts_with("F:3: the same character as in line 2"));
  CHECK_THROWS_WITH_AS(Tokenizer::read("/no/such.tiktoken"), doctest::Contains("/no/such.tiktoken"), Error);
  CHECK_THROWS_AS(Tokenizer::train_bpe("text", 256), Error);
}
