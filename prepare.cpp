// ./prepare TEXT...: turns text into the token files that ./train reads.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "training/command_line.h"
#include "training/prepare_data.h"

int main(int argc, char** argv) {
  ld::PrepareOptions options;
  CLI::App app(
      "Turns text into the token files that ./train reads:\n"
      "  OUT/NAME_train.bin, OUT/NAME_val.bin   the first 90 % of the characters, and the rest (uint16)\n"
      "  OUT/NAME.tiktoken or OUT/NAME.chars    the tokenizer\n"
      "  OUT/NAME.toml                          the numbers: vocabulary, tokens, sources\n",
      "prepare");
  app.footer(
      "Examples:\n"
      "  ./prepare tinyshakespeare.txt --tokenizer chars      one symbol per character\n"
      "  ./prepare book.txt --tokenizer gpt2.tiktoken         a vocabulary that exists\n"
      "  ./prepare gcide.dict.dz --shuffle-documents          a dictionary, 50,257 tokens learnt from it");
  app.get_formatter()->column_width(32);
  app.add_option(
         "TEXT", options.texts,
         "Text files, plain or gzip, put together in this order. A dictd dictionary (*.dict.dz) is cleaned")
      ->required();
  app.add_option("--tokenizer", options.tokenizer,
                 "bpe (learn it from the training part), chars, or a tokenizer's file")
      ->type_name("bpe|chars|FILE")
      ->capture_default_str();
  app.add_option("--vocabulary-size", options.vocabulary_size,
                 "For bpe: tokens, <|endoftext|> included [50257]")
      ->type_name("N");
  app.add_option("--out", options.out, "Directory to write to; made if it does not exist")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--name", options.name, "Name of the files [name of the first TEXT]")->type_name("NAME");
  app.add_flag("--shuffle-documents", options.shuffle_documents,
               "Shuffle what blank lines separate (an alphabetical dictionary, say) before cutting off the "
               "validation part");
  app.add_option("--seed", options.seed, "Of the shuffle")->type_name("N")->capture_default_str();
  return ld::run_program(app, argc, argv, [&] {
    const ld::DataInfo info = ld::prepare_data(options);
    fmt::print("vocabulary {}, {} training and {} validation tokens in {}\n", info.vocabulary_size,
               info.train_tokens, info.val_tokens, options.out);
    if (info.val_tokens < 1000)
      fmt::print(stderr,
                 "note: {} validation tokens are few; ./train needs more than context_size in each part\n",
                 info.val_tokens);
    return 0;
  });
}
