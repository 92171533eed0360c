// Byte-level byte-pair encoding of one word: start from its bytes and keep joining the two neighbours whose
// concatenation is the symbol of lowest rank, the leftmost first, until no two neighbours make a symbol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ld {

struct SymbolHash {
  using is_transparent = void;  // look up a string_view without making a string
  size_t operator()(std::string_view symbol) const { return std::hash<std::string_view>{}(symbol); }
};

/// Symbol -> id. For BPE the id is also the rank: the lower, the earlier it is merged.
using SymbolIds = std::unordered_map<std::string, int32_t, SymbolHash, std::equal_to<>>;

/// Appends the ids of `word`, whose every single byte must be in `ranks`. Takes n log n steps for n bytes, so
/// a word may be as long as it likes.
void append_bpe(std::vector<int32_t>& ids, std::string_view word, const SymbolIds& ranks);

}  // namespace ld
