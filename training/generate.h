// Text out of a model, as ./sample prints it and ./train at the end of a run.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "training/sampling.h"
#include "training/tokenizer.h"
#include "training/utf8_stream.h"

namespace ld {

struct GenerateOptions {
  int64_t tokens = 200;
  uint64_t seed = 1337;
  int64_t sample = 0;  // samples of one seed differ by their number
  SamplingOptions sampling = {};
  Caching caching = Caching::on;
};

/// Called with each new token as soon as it is chosen; false ends the sample.
using ShowToken = std::function<bool(int32_t token)>;

/// Chooses options.tokens tokens, one after the other, after those of `prompt` (at least one; the model sees
/// the last context_size of them). Only tokens below `vocabulary` are chosen. The same seed and sample give
/// the same tokens, and stochastic masks the same noise.
void generate(const Transformer& model, std::span<const int32_t> prompt, int64_t vocabulary,
              const GenerateOptions& options, const ShowToken& show);

/// The tokens of `text`. An empty text begins where a document does: after a newline, which ends the document
/// before (./prepare writes no <|endoftext|>); where the tokenizer has none, with token 0.
std::vector<int32_t> prompt_tokens(const std::optional<Tokenizer>& tokenizer, const std::string& text);

/// Prints tokens on standard output as they come: text with a tokenizer, flushed at each token and cut
/// between characters (Utf8Stream); else their numbers. Error: standard output cannot be written.
class TokenPrinter {
 public:
  explicit TokenPrinter(const std::optional<Tokenizer>& tokenizer) : tokenizer_(tokenizer) {}
  void print(std::span<const int32_t> tokens);
  void end_line();

 private:
  void write(const std::string& text);
  const std::optional<Tokenizer>& tokenizer_;
  Utf8Stream characters_;
};

/// What ./train shows of the run it has finished: `tokens` tokens of the best checkpoint in `folder`, if the
/// data has a tokenizer.
void print_sample_of_run(const std::string& folder, int64_t tokens);

}  // namespace ld
