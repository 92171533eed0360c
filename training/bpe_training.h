// Learns a byte-pair vocabulary from text (Sennrich et al. 2016, on bytes as in GPT-2): begin with the 256
// bytes; again and again make a new symbol of the two neighbouring symbols that occur together most often
// inside the words of the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "training/console.h"

namespace ld {

/// The symbols in the order of their ranks: the bytes 0..255, then what was merged, at most `symbols` in all
/// (>= 256). Fewer when no pair occurs twice any more. The result depends on the text alone: of pairs that
/// occur equally often, the one whose left symbol has the lower rank comes first, then the lower right one.
std::vector<std::string> learn_bpe(std::string_view text, int64_t symbols, const ProgressReport& report = {});

}  // namespace ld
