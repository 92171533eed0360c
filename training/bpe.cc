#include "training/bpe.h"

#include <algorithm>
#include <queue>

namespace ld {
namespace {

// The symbol that would begin at `left` and end at `end` if two neighbours merged. It is stale, and skipped,
// once either of them has merged otherwise.
struct Candidate {
  int32_t rank;
  size_t left, end;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

// The word's current symbols as a linked list, indexed by the byte at which each begins.
struct Symbols {
  std::vector<size_t> end, previous;  // of the symbol that begins at [i]; end 0 = none begins here (any more)
};

}  // namespace

void append_bpe(std::vector<int32_t>& ids, std::string_view word, const SymbolIds& ranks) {
  if (auto whole = ranks.find(word); whole != ranks.end()) {
    ids.push_back(whole->second);
    return;
  }
  Symbols symbols;
  for (size_t i = 0; i < word.size(); ++i) {
    symbols.end.push_back(i + 1);
    symbols.previous.push_back(i - 1);  // never followed for i = 0
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  auto propose = [&](size_t left) {  // the merge of the symbol at `left` with the one behind it
    size_t middle = symbols.end[left];
    if (middle == word.size()) return;
    size_t end = symbols.end[middle];
    auto merged = ranks.find(word.substr(left, end - left));
    if (merged != ranks.end()) candidates.push({merged->second, left, end});
  };
  for (size_t i = 0; i < word.size(); ++i) propose(i);

  while (!candidates.empty()) {
    auto [rank, left, end] = candidates.top();
    candidates.pop();
    size_t middle = symbols.end[left];
    if (middle == 0 || middle >= end || symbols.end[middle] != end) continue;  // stale
    symbols.end[left] = end;
    symbols.end[middle] = 0;
    if (end < word.size()) symbols.previous[end] = left;
    if (left > 0) propose(symbols.previous[left]);
    propose(left);
  }
  for (size_t at = 0; at < word.size(); at = symbols.end[at])
    ids.push_back(ranks.find(word.substr(at, symbols.end[at] - at))->second);
}

}  // namespace ld
