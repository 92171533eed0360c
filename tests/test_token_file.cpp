// Token files: both formats are read, and every way in which one may be wrong is refused in words.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"
#include "tests/temporary_directory.h"
#include "training/data_info.h"
#include "training/token_file.h"

using namespace ld;

namespace {

std::string bytes_of(const std::vector<uint16_t>& tokens) {
  return {reinterpret_cast<const char*>(tokens.data()), tokens.size() * 2};
}

std::string llmc_header(int32_t magic, int32_t version, int32_t count) {
  std::vector<int32_t> header(256);
  header[0] = magic, header[1] = version, header[2] = count;
  return {reinterpret_cast<const char*>(header.data()), 1024};
}

std::string error_of(const std::string& path, int64_t vocabulary_size, int64_t context_size) {
  try {
    TokenFile file(path, vocabulary_size, context_size);
  } catch (const Error& error) {
    return error.what();
  }
  return "(accepted)";
}

}  // namespace

TEST_CASE("token file: raw uint16 and llm.c's header give the same tokens") {
  TemporaryDirectory directory;
  const std::vector<uint16_t> tokens = {3, 1, 4, 1, 5, 50256};
  TokenFile raw(directory.file("raw.bin", bytes_of(tokens)), 50257, 5);
  TokenFile llmc(directory.file("llmc.bin", llmc_header(20240520, 1, 6) + bytes_of(tokens)), 50257, 5);
  CHECK(std::vector<uint16_t>(raw.tokens().begin(), raw.tokens().end()) == tokens);
  CHECK(std::vector<uint16_t>(llmc.tokens().begin(), llmc.tokens().end()) == tokens);
  TokenFile moved = std::move(raw);
  CHECK(moved.tokens()[5] == 50256);
  moved = std::move(llmc);
  CHECK(moved.tokens().size() == 6);
}

TEST_CASE("token file: what is refused, and how") {
  TemporaryDirectory directory;
  auto error = [&](const std::string& bytes, int64_t vocabulary_size, int64_t context_size) {
    const std::string path = directory.file("x.bin", bytes);
    std::string message = error_of(path, vocabulary_size, context_size);
    return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
  };
  CHECK(error_of(directory / "none.bin", 9, 1).find("cannot open this token file: No such file") !=
        std::string::npos);
  CHECK(error_of(directory.path.string(), 9, 1).find("is not a regular file") != std::string::npos);
  CHECK(error("", 9, 1).starts_with("is empty"));
  CHECK(error("abc", 70000, 0).starts_with("has 3 bytes, an odd number"));
  const std::string five = bytes_of({0, 1, 2, 3, 4});
  CHECK(error(five, 5, 4) == "(accepted)");
  CHECK(error(five, 5, 5).starts_with("has 5 tokens, but context_size 5 needs at least 6"));
  CHECK(error(five, 4, 4).starts_with("token 4 at offset 4 of 5 is not below the vocabulary size 4"));
  CHECK(error(llmc_header(20240520, 2, 5) + five, 5, 4).starts_with("has llm.c's header in version 2"));
  CHECK(error(llmc_header(20240520, 1, 6) + five, 5, 4)
            .starts_with("its header promises 6 tokens, but 5 follow"));
  CHECK(error(llmc_header(20240520, 1, -1), 5, 0).starts_with("its header promises -1"));
  CHECK(error(llmc_header(20240520, 1, 5) + five, 4, 4).starts_with("token 4 at offset 4"));
}

TEST_CASE("token file: the first token too high is found in any block") {
  TemporaryDirectory directory;
  for (size_t at : {0, 1, 16383, 16384, 39999}) {
    std::vector<uint16_t> tokens(40000, 7);
    tokens[at] = 65535;
    tokens.back() = 65535;
    const std::string message = error_of(directory.file("x.bin", bytes_of(tokens)), 65535, 10);
    CHECK(message.find("token 65535 at offset " + std::to_string(at) + " of 40000") != std::string::npos);
    CHECK(error_of(directory / "x.bin", 65536, 10) == "(accepted)");
  }
}

TEST_CASE("data info: reads back as written; a bad file is refused with line and key") {
  TemporaryDirectory directory;
  CHECK(!read_data_info(directory / "none"));
  DataInfo info{257, 90, 10, 100, "bpe", "elsewhere/a.tiktoken", {"it's \"x\".txt", "b"}, 7};
  directory.file("a.toml", data_info_text(info));
  const auto again = read_data_info(directory / "a");
  REQUIRE(again);
  CHECK(again->vocabulary_size == 257);
  CHECK(again->train_tokens == 90);
  CHECK(again->val_tokens == 10);
  CHECK(again->characters == 100);
  CHECK(again->tokenizer == "bpe");
  CHECK(again->tokenizer_path == directory / "a.tiktoken");
  CHECK(again->sources == info.sources);
  CHECK(again->shuffle_seed == 7);
  directory.file("bad.toml", "vocabulary_size = 5\ntrain_tokens = = 3\n");
  CHECK_THROWS_WITH_AS(read_data_info(directory / "bad"), doctest::Contains("bad.toml:2:"), Error);
  directory.file("bad.toml", "vocabulary_size = \"5\"\n");
  CHECK_THROWS_WITH_AS(read_data_info(directory / "bad"),
                       doctest::Contains("vocabulary_size is missing or no count"), Error);
}
