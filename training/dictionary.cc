// dictionary_entries of corpus.h: undoes the typesetting of dictd's GCIDE.
#include <algorithm>
#include <array>
#include <cctype>

#include "training/corpus.h"
#include "training/utf8.h"

namespace ld {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t\r\f\v");
  if (begin == line.npos) return {};
  return line.substr(begin, line.find_last_not_of(" \t\r\f\v") - begin + 1);
}

// --- characters
// ---------------------------------------------------------------------------------------------

// GCIDE writes what ASCII lacks in brackets: a name ([ae], [deg]), or a letter with a mark before or after it
// (['e], [a^]). Marks that no list here resolves go, and the plain letter stays.
struct Replacement {
  std::string_view code, text;
};
constexpr Replacement named_letters[] = {
    {"ae", "æ"},    {"AE", "Æ"},    {"oe", "œ"},    {"OE", "Œ"},    {"=ae", "ǣ"},     {"'ae", "ǽ"},
    {"eth", "ð"},   {"thorn", "þ"}, {"yogh", "ȝ"},  {"imac", "ī"},  {"aum", "ä"},     {"add", "ạ"},
    {"asl", "a"},   {"udd", "ụ"},   {"ng", "ng"},   {"th", "th"},   {"deg", "°"},     {"sect", "§"},
    {"root", "√"},  {"times", "×"}, {"div", "÷"},   {"divby", "÷"}, {"frac12", "½"},  {"frac14", "¼"},
    {"flat", "♭"},  {"sharp", "♯"}, {"para", "¶"},  {"dag", "†"},   {"rarr", "→"},    {"nbsp", " "},
    {"sec", "″"},   {"min", "′"},   {"ldqo", "“"},  {"rdqo", "”"},  {"alpha", "α"},   {"beta", "β"},
    {"gamma", "γ"}, {"delta", "δ"}, {"theta", "θ"}, {"iota", "ι"},  {"kappa", "κ"},   {"mu", "μ"},
    {"eta", "η"},   {"pi", "π"},    {"rho", "ρ"},   {"sigma", "σ"}, {"tau", "τ"},     {"phi", "φ"},
    {"chi", "χ"},   {"omega", "ω"}, {"Delta", "Δ"}, {"Gamma", "Γ"}, {"Sigma", "Σ"},   {"Omega", "Ω"},
    {"dsdot", "ḍ"}, {"zdot", "ż"},  {"'", "′"},     {"hand", "☞"},  {"upsilon", "υ"}, {"lambda", "λ"},
};
// One row per mark: the letters it stands over, and the same letters with it.
struct Accents {
  char mark;
  std::string_view plain;
  std::array<std::string_view, 16> accented;
};
constexpr Accents accents[] = {
    {'\'', "aeiouyAEIOUncs", {"á", "é", "í", "ó", "ú", "ý", "Á", "É", "Í", "Ó", "Ú", "ń", "ć", "ś"}},
    {'`', "aeiouAEIOU", {"à", "è", "ì", "ò", "ù", "À", "È", "Ì", "Ò", "Ù"}},
    {'"', "aeiouyAEIOU", {"ä", "ë", "ï", "ö", "ü", "ÿ", "Ä", "Ë", "Ï", "Ö", "Ü"}},
    {'^', "aeiouAEIOU", {"â", "ê", "î", "ô", "û", "Â", "Ê", "Î", "Ô", "Û"}},
    {'~', "anoANO", {"ã", "ñ", "õ", "Ã", "Ñ", "Õ"}},
    {'=', "aeiouyAEIOU", {"ā", "ē", "ī", "ō", "ū", "ȳ", "Ā", "Ē", "Ī", "Ō", "Ū"}},
    {',', "cCs", {"ç", "Ç", "ş"}},
    {'*', "auA", {"å", "ů", "Å"}},
};
constexpr std::string_view marks = "'`\"^~=,*.-";

// Appends the character that the bracketed `code` stands for; false when it stands for none ("[Obs.]").
bool append_character(std::string& text, std::string_view code) {
  for (const Replacement& named : named_letters)
    if (named.code == code) return text += named.text, true;
  if (code.size() < 2 || code.size() > 3) return false;
  const bool mark_first = marks.find(code.front()) != marks.npos;
  const char mark = mark_first ? code.front() : code.back();
  const std::string_view letters = mark_first ? code.substr(1) : code.substr(0, code.size() - 1);
  if (marks.find(mark) == marks.npos || !std::all_of(letters.begin(), letters.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      }))
    return false;
  if (!mark_first && mark == '.') return false;  // "[L.]" is an abbreviation, "[.a]" a letter
  if (mark_first && letters.size() == 1)
    for (const Accents& row : accents)
      if (size_t i = row.plain.find(letters[0]); row.mark == mark && i != row.plain.npos)
        return text += row.accented[i], true;
  return text += letters, true;
}

// --- text
// ---------------------------------------------------------------------------------------------------

// "[1913 Webster +PJC]": which source an entry comes from, in the order of GCIDE's editors.
bool is_source(std::string_view inside) {
  static constexpr std::string_view sources[] = {
      "1913 Webster", "Webster 1913", "WordNet", "PJC", "Century Dict", "RDH",   "RHUD",
      "MW10",         "MI11",         "GG",      "AS]", "RP]",          "break]"};
  if (inside.size() > 80) return false;
  const std::string closed = std::string(inside) + "]";
  for (std::string_view source : sources) {
    const size_t at = closed.find(source);
    if (at != closed.npos && (source.back() != ']' || at == 0)) return true;
  }
  return false;
}

// "[1913 Webster] Acaleph" at the end of an entry: the headword of the next entry has slipped in.
bool is_stray_headword(std::string_view rest) {
  return rest.size() < 40 && rest.find_first_of(".!?;:)]\"") == rest.npos;
}

// Markup of one running text: braces of cross references and marks of source go, notation becomes characters.
std::string without_markup(std::string_view line) {
  std::string text;
  for (size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '{' || line[at] == '}') continue;
    if (line[at] == '[') {
      const size_t end = line.find(']', at);
      if (end != line.npos) {
        const std::string_view inside = line.substr(at + 1, end - at - 1);
        const bool source = is_source(inside);
        if (source && is_stray_headword(trimmed(line.substr(end + 1)))) break;
        if (source || append_character(text, inside)) {
          at = end;
          continue;
        }
      }
    }
    text += line[at];
  }
  return text;
}

// "Coal \Coal\ (k[=o]l), n." -> "Coal, n.": pronunciation is \respelt\ and often given again in parentheses.
std::string without_pronunciation(std::string_view head) {
  std::string text;
  while (!head.empty()) {
    const size_t open = head.find('\\');
    const size_t close = open == head.npos ? head.npos : head.find('\\', open + 1);
    if (close == head.npos) break;
    text += trimmed(head.substr(0, open));
    head.remove_prefix(close + 1);
    const std::string_view rest = trimmed(head);
    if (rest.starts_with('(') && rest.find(')') != rest.npos) head = rest.substr(rest.find(')') + 1);
    if (!head.empty() &&
        (std::isalnum(static_cast<unsigned char>(head[0])) || head[0] == '[' || head[0] == '('))
      text += ' ';
  }
  text += head;
  return text;
}

// Valid UTF-8 without control characters. The few bytes that are none are Windows-1252, and
// apostrophes of some other machine (0xB9).
std::string clean_characters(std::string_view line) {
  std::string text;
  for (size_t at = 0, length; at < line.size(); at += std::max<size_t>(length, 1)) {
    length = utf8_length(line, at);
    const auto byte = static_cast<unsigned char>(line[at]);
    if (length > 1)
      text += line.substr(at, length);
    else if (byte == '\t')
      text += ' ';
    else if (byte >= ' ' && byte < 127)
      text += line[at];
    else if (byte == 0x91 || byte == 0x92 || byte == 0xB9)
      text += '\'';
    else if (byte >= 0xA0)
      text += utf8_of(byte);
  }
  return text;
}

// One space between words, none at the ends or before the punctuation that a removed mark has left alone.
std::string tidy(std::string_view line) {
  std::string text;
  for (char c : line) {
    if (c == ' ' && (text.empty() || text.back() == ' ')) continue;
    if ((c == ',' || c == ';') && !text.empty() && text.back() == ' ') text.pop_back();
    text += c;
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// --- entries
// ------------------------------------------------------------------------------------------------

class EntryReader {
 public:
  std::vector<std::string> entries;

  // An entry begins with lines at the margin, its head; all that follows is indented.
  void line(std::string_view raw) {
    const std::string_view text = trimmed(raw);
    const bool at_margin = !text.empty() && raw[0] == text[0];
    if (at_margin && !was_at_margin_) end_entry();
    was_at_margin_ = at_margin;
    if (text.empty() || begins_next_sense(text)) end_paragraph();
    if (!paragraph_.empty()) paragraph_ += ' ';
    paragraph_ += text;
  }

  // What stands at the margin without a respelt headword is no entry: the header of the database, which comes
  // before all entries and goes, or a table that has slipped out of the entry before it.
  void end_entry() {
    end_paragraph();
    if (!is_entry_ && !entries.empty() && entry_.size() > 2) entries.back() += '\n' + entry_;
    if (is_entry_ && !entry_.empty()) entries.push_back(entry_);
    entry_.clear();
    is_entry_ = false;
    sense_ = 0;
  }

 private:
  // "3. …" after sense 2, "1. …", "(a) …": a new line for a new sense. (A line broken before another number,
  // as in "Ps. xxiii. / 2. He maketh", is running text.)
  bool begins_next_sense(std::string_view text) {
    if (text.size() > 4 && text[0] == '(' && text[1] >= 'a' && text[1] <= 'z' && text.substr(2, 2) == ") ")
      return true;
    int number = 0;
    size_t at = 0;
    for (; at < 2 && at < text.size() && is_digit(text[at]); ++at) number = 10 * number + (text[at] - '0');
    if (at == 0 || text.substr(at, 2) != ". " || (number != 1 && number != sense_ + 1)) return false;
    sense_ = number;
    return true;
  }

  void end_paragraph() {
    std::string text = clean_characters(paragraph_);
    paragraph_.clear();
    if (entry_.empty() && text.find('\\') != text.npos) {
      is_entry_ = true;
      text = without_pronunciation(text);
    }
    text = tidy(without_markup(text));
    if (text.empty()) return;
    if (!entry_.empty()) entry_ += '\n';
    entry_ += text;
  }

  std::string entry_, paragraph_;  // cleaned; as read
  bool was_at_margin_ = false, is_entry_ = false;
  int sense_ = 0;  // number of the last numbered sense
};

}  // namespace

std::vector<std::string> dictionary_entries(std::string_view dictionary) {
  EntryReader reader;
  while (!dictionary.empty()) {
    const size_t end = std::min(dictionary.find('\n'), dictionary.size());
    reader.line(dictionary.substr(0, end));
    dictionary.remove_prefix(std::min(end + 1, dictionary.size()));
  }
  reader.end_entry();
  return std::move(reader.entries);
}

}  // namespace ld
