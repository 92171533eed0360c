#include "training/prepare_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>

#include "engine/error.h"
#include "training/console.h"
#include "training/corpus.h"
#include "training/safe_file.h"
#include "training/text.h"
#include "training/tokenizer.h"
#include "training/utf8.h"
#include "training/word_splitter.h"

namespace ld {
namespace {

constexpr int64_t most_tokens = 65536;  // what uint16 can tell apart
constexpr int64_t gpt2_vocabulary_size = 50257;
constexpr size_t block_bytes = size_t{64} << 20;  // of text whose tokens are in memory together

// The stages of the work on standard error, with the seconds since the start: a status while a stage lasts, a
// line when it is done.
class Stages {
 public:
  explicit Stages(bool quiet) : console_(quiet ? nullptr : stderr) {}

  void start(const std::string& stage) {
    stage_ = stage;
    console_.status(text());
  }
  void finish(const std::string& result) { console_.line(text() + ": " + result); }
  ProgressReport reporter() {
    return [this](double fraction) { console_.status(fmt::format("{}: {:.0f} %", text(), 100 * fraction)); };
  }

 private:
  std::string text() const {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    return fmt::format("{:7.1f} s  {}", seconds.count(), stage_);
  }

  Console console_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::string stage_;
};

std::string stem_of(const std::string& path) {  // data/gcide.dict.dz -> gcide
  std::string name = std::filesystem::path(path).filename().string();
  return name.substr(0, std::max<size_t>(1, name.find('.', 1)));
}

void check_options(const PrepareOptions& options) {
  check(!options.texts.empty(), "prepare: no text given; name one or more text files");
  check(options.tokenizer == "bpe" || !options.vocabulary_size,
        "prepare: --vocabulary-size is for --tokenizer bpe; with --tokenizer ", options.tokenizer,
        " the size follows from the tokenizer, so leave it out");
  const int64_t size = options.vocabulary_size.value_or(gpt2_vocabulary_size);
  check(size >= 257 && size <= most_tokens, "prepare: --vocabulary-size ", size, " is not between 257 and ",
        most_tokens, " (token files hold 16-bit numbers)");
  check(options.name.find('/') == std::string::npos, "prepare: --name ", options.name,
        " holds a slash; the directory goes into --out");
}

std::string read_all(const PrepareOptions& options, Stages& stages) {
  std::string text;
  std::vector<std::string> documents;
  for (const std::string& path : options.texts) {
    stages.start("reading " + path);
    std::string part = read_text(path);
    check(!part.empty(), path, ": is empty; name a file with text in it");
    const size_t bytes = part.size();
    std::vector<std::string> entries;
    if (is_dictionary(path)) {
      entries = dictionary_entries(part);
      check(!entries.empty(), path,
            ": no entries of a dictd dictionary found; rename it if it is plain text");
      if (!options.shuffle_documents) part = join_documents(entries);
    } else if (options.shuffle_documents) {
      entries = split_documents(part);
    }
    stages.finish(
        grouped(static_cast<int64_t>(bytes)) + " bytes" +
        (entries.empty() ? "" : ", " + grouped(static_cast<int64_t>(entries.size())) + " documents"));
    if (options.shuffle_documents)
      std::move(entries.begin(), entries.end(), std::back_inserter(documents));
    else
      text += part;
  }
  if (!options.shuffle_documents) return text;
  check(documents.size() > 1, "prepare: --shuffle-documents finds ", documents.size(),
        " document in this text; documents are separated by blank lines");
  shuffle_documents(documents, static_cast<uint64_t>(options.seed));
  return join_documents(documents);
}

Tokenizer make_tokenizer(const PrepareOptions& options, std::string_view text, std::string_view train,
                         Stages& stages) {
  if (options.tokenizer == "chars") return Tokenizer::chars(text);
  if (options.tokenizer != "bpe") {
    check(std::filesystem::exists(options.tokenizer), "prepare: --tokenizer ", options.tokenizer,
          " is neither `bpe` nor `chars` nor a file that exists");
    return Tokenizer::read(options.tokenizer);
  }
  const int64_t wanted = options.vocabulary_size.value_or(gpt2_vocabulary_size);
  stages.start(fmt::format("learning a BPE vocabulary of {} tokens from the training part", grouped(wanted)));
  Tokenizer tokenizer = Tokenizer::train_bpe(train, wanted, stages.reporter());
  const int64_t reached = tokenizer.vocabulary_size();
  stages.finish(reached == wanted ? "done"
                                  : fmt::format("the text yields only {}, for no pair occurs twice any more",
                                                grouped(reached)));
  return tokenizer;
}

/// A token file being made, and how many tokens went into it.
struct Encoded {
  SafeFile file;
  int64_t tokens = 0;
};

// Block by block, so that the tokens of a long text never exist all at once.
Encoded encode(const Tokenizer& tokenizer, std::string_view text, const std::string& what,
               const std::string& path, Stages& stages) {
  stages.start("encoding " + what);
  Encoded out{SafeFile(path)};
  const auto blocks = cut_between_words(text, block_bytes);
  const auto report = stages.reporter();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto in_block = [&](double fraction) {
      report((static_cast<double>(i) + fraction) / static_cast<double>(blocks.size()));
    };
    const std::vector<int32_t> ids = tokenizer.encode(blocks[i], in_block);
    const std::vector<uint16_t> narrow(ids.begin(), ids.end());
    out.file.write({reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(uint16_t)});
    out.tokens += std::ssize(ids);
  }
  out.file.finish();
  stages.finish(grouped(out.tokens) + " tokens");
  return out;
}

SafeFile text_file(const std::string& path, const std::string& text) {
  SafeFile file(path);
  file.write(text);
  file.finish();
  return file;
}

}  // namespace

DataInfo prepare_data(const PrepareOptions& options, bool quiet) {
  check_options(options);
  Stages stages(quiet);
  DataInfo info;
  make_directory(options.out);
  const std::string prefix =
      (std::filesystem::path(options.out) / (options.name.empty() ? stem_of(options.texts[0]) : options.name))
          .string();
  SafeFile(prefix + ".toml");  // and gone again: a place one may not write to is known before the long work

  const std::string text = read_all(options, stages);
  info.characters = count_characters(text);
  check(info.characters >= 2, "prepare: this text has only ", info.characters,
        " character; one is needed for training and one for validation");
  const auto train_characters = static_cast<int64_t>(static_cast<double>(info.characters) * 0.9);
  const std::string_view train =
      std::string_view(text).substr(0, bytes_of_characters(text, train_characters));
  const std::string_view val = std::string_view(text).substr(train.size());

  const Tokenizer tokenizer = make_tokenizer(options, text, train, stages);
  info.tokenizer = tokenizer.kind_name();
  info.vocabulary_size = tokenizer.vocabulary_size();
  check(info.vocabulary_size <= most_tokens, "prepare: the tokenizer (", options.tokenizer, ") has ",
        info.vocabulary_size, " tokens, but token files hold 16-bit numbers, at most ", most_tokens,
        "; use --tokenizer bpe");
  Encoded train_part = encode(tokenizer, train, "the training part", prefix + "_train.bin", stages);
  Encoded val_part = encode(tokenizer, val, "the validation part", prefix + "_val.bin", stages);
  info.train_tokens = train_part.tokens;
  info.val_tokens = val_part.tokens;
  info.tokenizer_path = prefix + (tokenizer.kind() == Tokenizer::Kind::bpe ? ".tiktoken" : ".chars");
  for (const std::string& path : options.texts)
    info.sources.push_back(std::filesystem::path(path).filename().string());
  if (options.shuffle_documents) info.shuffle_seed = options.seed;

  SafeFile tokenizer_file = text_file(*info.tokenizer_path, tokenizer.file_text());
  SafeFile info_file = text_file(prefix + ".toml", data_info_text(info));
  // The info goes first and comes last: where it is, the others are its own.
  std::filesystem::remove(info_file.path());
  for (SafeFile* file : {&train_part.file, &val_part.file, &tokenizer_file, &info_file}) file->publish();
  return info;
}

}  // namespace ld
