// ./prepare from end to end: what is written, and what is refused without writing anything.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "engine/error.h"
#include "tests/temporary_directory.h"
#include "training/prepare_data.h"
#include "training/token_file.h"
#include "training/tokenizer.h"

using namespace ld;

namespace {

std::string text_of(const std::string& prefix, const std::string& part) {
  const auto info = read_data_info(prefix);
  REQUIRE(info);
  REQUIRE(info->tokenizer_path);
  TokenFile file(prefix + "_" + part + ".bin", info->vocabulary_size, 0);
  CHECK(int64_t(file.tokens().size()) == (part == "train" ? info->train_tokens : info->val_tokens));
  const std::vector<int32_t> tokens(file.tokens().begin(), file.tokens().end());
  return Tokenizer::read(*info->tokenizer_path).decode(tokens);
}

size_t files_in(const std::filesystem::path& path) {
  return size_t(std::distance(std::filesystem::directory_iterator(path), {}));
}

std::string error_of(const PrepareOptions& options) {
  try {
    prepare_data(options, true);
  } catch (const Error& error) {
    return error.what();
  }
  return "(accepted)";
}

std::string story() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Der Bär sah the café, " + std::to_string(i) + " times.\n\n";
  return text;
}

}  // namespace

TEST_CASE("prepare: 90 % of the characters train, the rest validates, and both decode") {
  TemporaryDirectory directory;
  PrepareOptions options;
  options.texts = {directory.file("story.txt", story())};
  options.out = directory / "made/here";
  const std::string prefix = options.out + "/story";
  for (const std::string kind : {"chars", "bpe"}) {
    options.tokenizer = kind;
    if (kind == "bpe") options.vocabulary_size = 270;
    const DataInfo info = prepare_data(options, true);
    CHECK(info.tokenizer == kind);
    CHECK(text_of(prefix, "train") + text_of(prefix, "val") == story());
    if (kind == "chars") {
      CHECK(info.train_tokens == int64_t(double(info.characters) * 0.9));
      CHECK(info.train_tokens + info.val_tokens == info.characters);
    } else {
      CHECK(info.vocabulary_size == 270);
    }
  }
  CHECK(files_in(options.out) == 5);  // two .bin, .toml, .chars, .tiktoken: nothing temporary is left
}

TEST_CASE("prepare: a vocabulary is learnt from the training part alone") {
  TemporaryDirectory directory;
  std::string text;
  for (int i = 0; i < 300; ++i) text += "ab ";
  for (int i = 0; i < 33; ++i) text += "zq ";
  PrepareOptions options;
  options.texts = {directory.file("a.txt", text)};
  options.out = directory.path.string();
  options.vocabulary_size = 300;
  prepare_data(options, true);
  const Tokenizer tokenizer = Tokenizer::read(directory / "a.tiktoken");
  CHECK(tokenizer.encode(" ab").size() == 1);
  CHECK(tokenizer.encode(" zq").size() == 3);
}

TEST_CASE("prepare: a vocabulary the text cannot fill is recorded at the size it reached") {
  TemporaryDirectory directory;
  PrepareOptions options;
  options.texts = {directory.file("a.txt", "abab abab abab abab")};
  options.out = directory.path.string();
  const DataInfo info = prepare_data(options, true);
  CHECK(info.vocabulary_size < 300);
  CHECK(read_data_info(directory / "a")->vocabulary_size == info.vocabulary_size);
}

TEST_CASE("prepare: several texts, another name, an existing tokenizer, a shuffle") {
  TemporaryDirectory directory;
  PrepareOptions options;
  options.texts = {directory.file("a.txt", "one\n\ntwo\n\nthree\n"), directory.file("b.txt", "four\n\nfive")};
  options.out = directory.path.string();
  options.name = "both";
  options.tokenizer = directory.file("bytes.tiktoken", Tokenizer::train_bpe("", 257).file_text());
  prepare_data(options, true);
  const std::string prefix = directory / "both";
  CHECK(text_of(prefix, "train") + text_of(prefix, "val") == "one\n\ntwo\n\nthree\nfour\n\nfive");
  CHECK(read_data_info(prefix)->sources == std::vector<std::string>{"a.txt", "b.txt"});
  options.shuffle_documents = true;
  prepare_data(options, true);
  const std::string shuffled = text_of(prefix, "train") + text_of(prefix, "val");
  CHECK(shuffled.size() == std::string("one\n\ntwo\n\nthree\n\nfour\n\nfive\n").size());
  CHECK(shuffled != "one\n\ntwo\n\nthree\n\nfour\n\nfive\n");
  CHECK(shuffled.find("three") != std::string::npos);
  CHECK(read_data_info(prefix)->shuffle_seed == 1337);
  const std::string first = file_bytes(prefix + "_train.bin");
  prepare_data(options, true);
  CHECK(file_bytes(prefix + "_train.bin") == first);
}

TEST_CASE("prepare: mistakes are refused and leave no file") {
  TemporaryDirectory directory, in;
  PrepareOptions good;
  good.texts = {in.file("t.txt", "some text\n\nmore text")};
  good.out = directory.path.string();
  auto error = [&](auto change) {
    PrepareOptions options = good;
    change(options);
    return error_of(options);
  };
  auto contains = [](const std::string& message, const char* part) {
    return message.find(part) != std::string::npos;
  };
  CHECK(contains(error([](auto& o) { o.texts.clear(); }), "no text given"));
  CHECK(contains(error([&](auto& o) { o.texts = {in / "none.txt"}; }),
                 "none.txt: cannot read this text: No such file"));
  CHECK(contains(error([&](auto& o) { o.texts = {in.file("e.txt", "")}; }), "e.txt: is empty"));
  CHECK(contains(error([&](auto& o) { o.texts = {in.file("1.txt", "x")}; }), "only 1 character"));
  CHECK(contains(error([&](auto& o) { o.texts = {in.file("x.dict", "hello\n")}; }), "no entries"));
  CHECK(contains(error([](auto& o) { o.tokenizer = "none"; }), "neither `bpe` nor `chars` nor a file"));
  CHECK(contains(error([&](auto& o) { o.tokenizer = in.file("bad", "AA== 0\nx\n"); }), "bad:2: not base64"));
  CHECK(contains(error([](auto& o) { o.vocabulary_size = 65537; }), "not between 257 and 65536"));
  CHECK(contains(error([](auto& o) { o.vocabulary_size = 256; }), "not between 257 and 65536"));
  CHECK(contains(error([](auto& o) { o.tokenizer = "chars", o.vocabulary_size = 300; }),
                 "is for --tokenizer bpe"));
  CHECK(contains(error([](auto& o) { o.name = "a/b"; }), "holds a slash"));
  CHECK(contains(error([&](auto& o) { o.out = in / "t.txt"; }), "t.txt: cannot make this directory"));
  CHECK(contains(error([&](auto& o) {
                   o.texts = {in.file("one.txt", "one line")};
                   o.shuffle_documents = true;
                 }),
                 "finds 1 document"));
  CHECK(files_in(directory.path) == 0);
  CHECK(error([](auto&) {}) == "(accepted)");
}
