#include "training/bpe_training.h"

#include <omp.h>

#include <algorithm>
#include <exception>
#include <queue>
#include <span>
#include <unordered_map>

#include "engine/error.h"
#include "training/bpe.h"
#include "training/word_splitter.h"

namespace ld {
namespace {

// A merge rewrites every word that holds the pair, so a word without end (a file without white space) would
// take forever. Cutting it changes the counts only at the cuts.
constexpr size_t longest_word = 256;
constexpr size_t piece_bytes = 1 << 20;

using WordCounts = std::unordered_map<std::string_view, int64_t>;

void count_words(WordCounts& counts, std::string_view text) {
  WordSplitter splitter(text);
  for (std::string_view word; splitter.next(word);)
    for (; !word.empty(); word.remove_prefix(std::min(longest_word, word.size())))
      ++counts[word.substr(0, longest_word)];
}

// Each distinct word of the text with the number of its occurrences, in byte order.
std::vector<std::pair<std::string_view, int64_t>> distinct_words(std::string_view text) {
  const std::vector<std::string_view> pieces = cut_between_words(text, piece_bytes);
  WordCounts total;
  std::exception_ptr error;  // an exception must not leave a parallel region
#pragma omp parallel
  try {
    WordCounts counts;
#pragma omp for schedule(dynamic) nowait
    for (size_t i = 0; i < pieces.size(); ++i) count_words(counts, pieces[i]);
#pragma omp critical
    for (const auto& [word, count] : counts) total[word] += count;
  } catch (...) {
#pragma omp critical
    error = std::current_exception();
  }
  if (error) std::rethrow_exception(error);
  std::vector<std::pair<std::string_view, int64_t>> words(total.begin(), total.end());
  std::sort(words.begin(), words.end());
  return words;
}

using Pair = uint64_t;  // left symbol << 32 | right symbol: compares like (left, right)
Pair pair_of(int32_t left, int32_t right) { return uint64_t(left) << 32 | uint32_t(right); }

struct Occurrences {
  int64_t count = 0;           // in the text
  std::vector<int32_t> words;  // that hold the pair, perhaps some that no longer do
};

struct Candidate {
  int64_t count;
  Pair pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Learner {
 public:
  explicit Learner(std::string_view text) {
    for (int byte = 0; byte < 256; ++byte) add_symbol(std::string(1, static_cast<char>(byte)));
    for (const auto& [word, count] : distinct_words(text)) {
      if (word.size() < 2) continue;
      Word entry{static_cast<int64_t>(tokens_.size()), static_cast<int32_t>(word.size()), count};
      for (unsigned char byte : word) tokens_.push_back(byte);
      words_.push_back(entry);
      for (int32_t i = 0; i + 1 < entry.length; ++i) add(pair_at(entry, i), words_.size() - 1);
    }
    for (const auto& [pair, occurrences] : pairs_) queue_.push({occurrences.count, pair});
  }

  // Merges the most frequent pair into one symbol; false when none occurs twice.
  bool merge_best() {
    while (!queue_.empty()) {
      auto [count, pair] = queue_.top();
      queue_.pop();
      auto found = pairs_.find(pair);
      if (found == pairs_.end() || found->second.count < 2) continue;
      if (found->second.count < count) {  // other merges have used some up since it was queued
        queue_.push({found->second.count, pair});
        continue;
      }
      merge(pair);
      return true;
    }
    return false;
  }

  const std::vector<std::string>& symbols() const { return symbols_; }

 private:
  struct Word {
    int64_t begin;   // of its tokens in tokens_
    int32_t length;  // tokens left
    int64_t count;   // occurrences in the text
  };

  std::span<int32_t> tokens(const Word& word) {
    return std::span(tokens_).subspan(static_cast<size_t>(word.begin), static_cast<size_t>(word.length));
  }
  Pair pair_at(const Word& word, int32_t i) { return pair_of(tokens(word)[i], tokens(word)[i + 1]); }

  int32_t add_symbol(const std::string& bytes) {
    auto [entry, is_new] = ids_.try_emplace(bytes, static_cast<int32_t>(symbols_.size()));
    if (is_new) symbols_.push_back(bytes);
    return entry->second;
  }

  void add(Pair pair, size_t word) {
    Occurrences& occurrences = pairs_[pair];
    occurrences.count += words_[word].count;
    if (occurrences.words.empty() || occurrences.words.back() != static_cast<int32_t>(word))
      occurrences.words.push_back(static_cast<int32_t>(word));
  }

  void merge(Pair pair) {
    const auto left = static_cast<int32_t>(pair >> 32), right = static_cast<int32_t>(pair);
    // Two different pairs may spell the same bytes ("ab"+"c", "a"+"bc"); they share one symbol, for in a rank
    // file a symbol is known by its bytes only.
    const int32_t merged = add_symbol(symbols_[left] + symbols_[right]);
    const std::vector<int32_t> words = std::move(pairs_[pair].words);
    grown_.clear();
    for (int32_t word : words) rewrite(word, left, right, merged);
    pairs_.erase(pair);
    std::sort(grown_.begin(), grown_.end());
    grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
    for (Pair next : grown_)
      if (auto found = pairs_.find(next); found != pairs_.end()) queue_.push({found->second.count, next});
  }

  // Replaces left, right by `merged` in one word. Counting its pairs out before and in again after keeps the
  // counts right where occurrences overlap ("aaa"); what lies well before the first merge is left alone.
  void rewrite(int32_t index, int32_t left, int32_t right, int32_t merged) {
    Word& word = words_[index];
    std::span<int32_t> t = tokens(word);
    int32_t first = 0;
    while (first + 1 < word.length && !(t[first] == left && t[first + 1] == right)) ++first;
    if (first + 1 >= word.length) return;  // stale
    const int32_t begin = std::max(first - 1, 0);
    for (int32_t i = begin; i + 1 < word.length; ++i)
      pairs_.find(pair_at(word, i))->second.count -= word.count;
    int32_t write = first;
    for (int32_t read = first; read < word.length; ++write) {
      bool match = read + 1 < word.length && t[read] == left && t[read + 1] == right;
      t[write] = match ? merged : t[read];
      read += match ? 2 : 1;
    }
    word.length = write;
    for (int32_t i = begin; i + 1 < word.length; ++i) {
      Pair pair = pair_at(word, i);
      if (t[i] == merged || t[i + 1] == merged) {
        add(pair, index);
        grown_.push_back(pair);
      } else {
        pairs_.find(pair)->second.count += word.count;
      }
    }
  }

  std::vector<std::string> symbols_;
  SymbolIds ids_;
  std::vector<Word> words_;
  std::vector<int32_t> tokens_;  // of all words, one after the other
  std::unordered_map<Pair, Occurrences> pairs_;
  std::priority_queue<Candidate> queue_;  // every pair, with at least the count it has now
  std::vector<Pair> grown_;               // pairs that the current merge has added to
};

}  // namespace

std::vector<std::string> learn_bpe(std::string_view text, int64_t symbols, const ProgressReport& report) {
  check(symbols >= 256, "bpe: a vocabulary of ", symbols, " symbols cannot hold the 256 bytes");
  Learner learner(text);
  auto size = [&] { return static_cast<int64_t>(learner.symbols().size()); };
  while (size() < symbols && learner.merge_best())
    if (report) report(double(size() - 256) / double(std::max<int64_t>(1, symbols - 256)));
  return learner.symbols();
}

}  // namespace ld
