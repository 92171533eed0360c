#include "training/generate.h"

#include <fmt/format.h>

#include <cstdio>

#include "model/sites.h"
#include "training/interrupt.h"
#include "training/saved_model.h"

namespace ld {
namespace {

/// Uniform on [0, 1), with the 53 bits of a double.
double uniform_of(const NoiseKey& key) {
  const uint64_t bits = static_cast<uint64_t>(key.bits(0, 0)) << 32 | key.bits(0, 1);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace

void generate(const Transformer& model, std::span<const int32_t> prompt, int64_t vocabulary,
              const GenerateOptions& options, const ShowToken& show) {
  check(vocabulary >= 1 && vocabulary <= model.config().alphabet_size, "generate: a vocabulary of ",
        vocabulary, " for a model of ", model.config().alphabet_size, " tokens; give at most those");
  const NoiseKey key{.seed = options.seed, .first_sample = static_cast<uint32_t>(options.sample)};
  Decoder decoder(model, key, Decoder::obstacle(model).empty() ? options.caching : Caching::off);
  std::vector<int32_t> fresh(prompt.begin(), prompt.end());
  for (int64_t i = 0; i < options.tokens; ++i) {
    const std::vector<double> logits = decoder.append(fresh).to_vector();
    NoiseKey draw = key.at(sites::next_token);
    draw.step = static_cast<uint32_t>(i);
    fresh = {choose_token(std::span(logits).first(static_cast<size_t>(vocabulary)), options.sampling,
                          uniform_of(draw))};
    if (!show(fresh[0])) return;
  }
}

std::vector<int32_t> prompt_tokens(const std::optional<Tokenizer>& tokenizer, const std::string& text) {
  if (!text.empty()) {
    check(tokenizer.has_value(),
          "sample: a prompt needs the tokenizer of the run's data; give --tokenizer FILE");
    return tokenizer->encode(text);
  }
  try {
    if (tokenizer) return tokenizer->encode("\n");
  } catch (const Error&) {  // characters without a newline
  }
  return {0};
}

void TokenPrinter::write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  check(std::fflush(stdout) == 0 && !std::ferror(stdout), "sample: standard output cannot be written");
}

void TokenPrinter::print(std::span<const int32_t> tokens) {
  if (tokenizer_) return write(characters_.push(tokenizer_->decode(tokens)));
  for (int32_t token : tokens) write(std::to_string(token) + " ");
}

void TokenPrinter::end_line() { write(characters_.finish() + "\n"); }

void print_sample_of_run(const std::string& folder, int64_t tokens) {
  const SavedModel saved(find_checkpoint(folder));
  const auto tokenizer = tokenizer_of(saved.config, folder);
  check(tokenizer.has_value(), "the data are raw token files without a tokenizer; ./sample ", folder,
        " prints token numbers, or text with --tokenizer FILE");
  fmt::print("sample    {} tokens of the model after step {} (./sample {} for more)\n", tokens, saved.step,
             folder);
  TokenPrinter printer(tokenizer);
  generate(*saved.model, prompt_tokens(tokenizer, {}), tokenizer->vocabulary_size(), {.tokens = tokens},
           [&](int32_t token) {
             printer.print(std::span(&token, 1));
             return !interrupted();
           });
  printer.end_line();
}

}  // namespace ld
