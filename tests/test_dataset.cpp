// Which tokens a step sees.
#include <doctest/doctest.h>

#include <set>

#include "tests/expect.h"
#include "tests/small_run.h"

namespace ld {
namespace {

// A file whose token i is i, so that a batch tells its offsets.
struct Counting {
  explicit Counting(int64_t n) {
    std::vector<uint16_t> tokens;
    for (int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<uint16_t>(i));
    path = directory.file("count.bin", {reinterpret_cast<const char*>(tokens.data()), 2 * tokens.size()});
  }
  TokenFile open(int64_t context) const { return TokenFile(path, 65536, context); }
  TemporaryDirectory directory;
  std::string path;
};

std::vector<double> offsets_of(const Batch& batch) {
  std::vector<double> offsets;
  const auto ids = batch.ids.to_vector();
  for (int64_t b = 0; b < batch.ids.size(0); ++b)
    offsets.push_back(ids[static_cast<size_t>(b * batch.ids.size(1))]);
  return offsets;
}

}  // namespace

TEST_CASE("dataset: a batch is runs of tokens, and targets are the tokens one place further on") {
  const Counting counting(1000);
  const Batch batch = draw_batch(counting.open(7), 5, 7, {.seed = 1, .site = 9});
  CHECK(batch.ids.shape() == Shape{5, 7});
  CHECK(batch.targets.shape() == Shape{5, 7});
  CHECK(batch.ids.dtype() == DType::int32);
  const auto ids = batch.ids.to_vector(), targets = batch.targets.to_vector();
  for (size_t i = 0; i < ids.size(); ++i) {
    CHECK(targets[i] == ids[i] + 1);
    if (i % 7 > 0) CHECK(ids[i] == ids[i - 1] + 1);
  }
}

TEST_CASE("dataset: a batch is a function of its key, sample by sample") {
  const Counting counting(60000);
  const TokenFile file = counting.open(3);
  const NoiseKey key{.seed = 1, .step = 2, .first_sample = 10, .site = 3};
  const auto whole = offsets_of(draw_batch(file, 6, 3, key));
  CHECK(whole == offsets_of(draw_batch(file, 6, 3, key)));
  NoiseKey later = key;
  later.first_sample = 12;
  const auto part = offsets_of(draw_batch(file, 4, 3, later));
  CHECK(std::equal(part.begin(), part.end(), whole.begin() + 2));
  for (NoiseKey other :
       {NoiseKey{2, 2, 10, 3}, NoiseKey{1, 3, 10, 3}, NoiseKey{1, 2, 16, 3}, NoiseKey{1, 2, 10, 4}})
    CHECK(offsets_of(draw_batch(file, 6, 3, other)) != whole);
}

TEST_CASE("dataset: every offset is drawn, the first, the last and all between about equally often") {
  const Counting counting(20);
  const TokenFile file = counting.open(8);  // offsets 0 … 11: the last target is token 19
  std::vector<int> drawn(12, 0);
  for (double offset : offsets_of(draw_batch(file, 12000, 8, {.seed = 1}))) {
    REQUIRE(offset <= 11);
    ++drawn[static_cast<size_t>(offset)];
  }
  for (int n : drawn) {
    CHECK(n > 850);  // 1000 ± 5 standard deviations of 30
    CHECK(n < 1150);
  }
}

TEST_CASE("dataset: files that do not belong together are refused") {
  const SmallData data;
  RunConfig config = small_run(data);
  DataInfo info = small_data_info;
  auto open = [&] {
    data.describe(info);
    open_dataset(config);
  };
  open();
  info.val_tokens = 30;
  expect_error(open, {"data_val.bin: holds 300", "data.toml says 30"});
  info.train_tokens = 2001;
  expect_error(open, {"data_train.bin: holds 2000", "data.toml says 2001", "prepare"});
}

TEST_CASE("dataset: a file of exactly one sequence and its last target") {
  const Counting counting(9);
  const Batch batch = draw_batch(counting.open(8), 4, 8, {.seed = 1});
  for (double offset : offsets_of(batch)) CHECK(offset == 0);
  CHECK(batch.targets.to_vector()[7] == 8);
  expect_error([&] { counting.open(9); }, {"has 9 tokens", "context_size 9", "at least 10"});
}

TEST_CASE("dataset: what is missing is named, with what to run") {
  const SmallData data;
  RunConfig config = small_run(data);
  CHECK(open_dataset(config).train.tokens().size() == 2000);
  CHECK(open_dataset(config).val.tokens().size() == 300);
  config.model_config.alphabet_size = 0;
  expect_error([&] { open_dataset(config); }, {"data.toml is not there", "alphabet_size"});
  config.data = data.folder("nothing");
  expect_error([&] { open_dataset(config); }, {"nothing_train.bin is not there", "make data", "./prepare"});
  config.model_config.alphabet_size = 11;
  expect_error([&] { open_dataset(config); }, {"nothing_train.bin is not there"});
  write_tokens(data.folder("nothing_train.bin"), 50, 1);
  expect_error([&] { open_dataset(config); }, {"nothing_val.bin is not there"});
  config = small_run(data);
  config.model_config.alphabet_size = 10;
  expect_error([&] { open_dataset(config); }, {"data_train.bin: token 10 at offset", "vocabulary size 10"});
}

}  // namespace ld
