// From a run's folder to text: checkpoint, tokenizer, tokens.
#include <doctest/doctest.h>

#include "tests/expect.h"
#include "tests/small_model.h"
#include "tests/small_run.h"
#include "training/data_info.h"
#include "training/generate.h"
#include "training/safetensors.h"
#include "training/saved_model.h"

namespace ld {
namespace {

std::vector<int32_t> tokens_of(const Transformer& model, const GenerateOptions& options,
                               const std::vector<int32_t>& prompt = {1}, int64_t vocabulary = 11) {
  std::vector<int32_t> tokens;
  generate(model, prompt, vocabulary, options, [&](int32_t token) {
    tokens.push_back(token);
    return true;
  });
  return tokens;
}

// A run that has ended, on raw token files.
struct FinishedRun {
  SmallData data;
  RunConfig config = small_run(data);
  std::string folder = data.folder("run");
  FinishedRun() { train(config, folder); }
  // The data's TOML, which names its tokenizer.
  void name_tokenizer(const std::string& path) const {
    DataInfo info = small_data_info;
    info.tokenizer = "chars";
    info.tokenizer_path = path;
    data.describe(info);
  }
};

}  // namespace

TEST_CASE("generate: the same seed gives the same tokens, another seed or sample others") {
  const Transformer model(small_learned(), DType::float32, 1);  // a fresh model: nearly uniform
  const GenerateOptions options{.tokens = 20, .seed = 5};
  const auto tokens = tokens_of(model, options);
  CHECK(tokens.size() == 20);
  CHECK(tokens == tokens_of(model, options));
  CHECK(tokens != tokens_of(model, {.tokens = 20, .seed = 6}));
  CHECK(tokens != tokens_of(model, {.tokens = 20, .seed = 5, .sample = 1}));
  // A longer text begins with the shorter one.
  const auto longer = tokens_of(model, {.tokens = 30, .seed = 5});
  CHECK(std::equal(tokens.begin(), tokens.end(), longer.begin()));
}

TEST_CASE("generate: only tokens below the vocabulary, each of them") {
  const Transformer model(small_baseline(), DType::float32, 1);
  std::vector<int> times(11, 0);
  for (int32_t token : tokens_of(model, {.tokens = 300}, {1}, 4)) ++times[static_cast<size_t>(token)];
  for (size_t token = 0; token < times.size(); ++token) CHECK((times[token] > 30) == (token < 4));
  expect_error([&] { tokens_of(model, {}, {1}, 12); }, {"generate", "12", "11"});
}

TEST_CASE("generate: a long prompt counts by its end, and show can stop") {
  const Transformer model = lively_model(small_baseline(), DType::float32);
  const std::vector<int32_t> prompt = {9, 9, 9, 9, 1, 2, 3, 4, 5, 6};
  CHECK(tokens_of(model, {.tokens = 5}, prompt) ==
        tokens_of(model, {.tokens = 5}, std::vector<int32_t>(prompt.begin() + 4, prompt.end())));
  int shown = 0;
  generate(model, prompt, 11, {.tokens = 50}, [&](int32_t) { return ++shown < 3; });
  CHECK(shown == 3);
}

TEST_CASE("generate: a prompt in tokens, and where an empty one begins") {
  const std::optional<Tokenizer> none, chars = Tokenizer::chars("ab\n"), lineless = Tokenizer::chars("ab"),
                                       bpe = Tokenizer::train_bpe("abababab", 257);
  CHECK(prompt_tokens(chars, "ba") == std::vector<int32_t>{2, 1});
  CHECK(prompt_tokens(chars, "") == std::vector<int32_t>{0});
  CHECK(prompt_tokens(bpe, "") == bpe->encode("\n"));
  CHECK(prompt_tokens(lineless, "") == std::vector<int32_t>{0});
  CHECK(prompt_tokens(none, "") == std::vector<int32_t>{0});
  expect_error([&] { prompt_tokens(chars, "aéb"); }, {"'é'", "leave it out"});
  expect_error([&] { prompt_tokens(none, "a"); }, {"--tokenizer"});
}

TEST_CASE("saved model: the weights and config of the checkpoint") {
  const FinishedRun run;
  const std::string path = find_checkpoint(run.folder);
  CHECK(path == run.folder + "/best.safetensors");
  const SavedModel saved(path);
  CHECK(saved.config == run.config);
  CHECK(saved.step > 0);
  const SafetensorsFile file(path);
  for (const Parameter& parameter : saved.model->parameters().all()) {
    Tensor stored = Tensor::like(parameter.var.value());
    file.read_into(parameter.name, stored);
    CHECK(same_bits(stored, parameter.var.value()));
  }
  CHECK(tokens_of(*saved.model, {.tokens = 10}).size() == 10);
}

TEST_CASE("saved model: a text is generated without the attention dropout that losses may keep") {
  const SmallData data;
  RunConfig config = small_run(data);
  config.model_config.keep_attention_dropout_in_evaluation = true;
  train(config, data.folder("run"));
  const SavedModel saved(find_checkpoint(data.folder("run")));
  CHECK(Decoder::obstacle(*saved.model) == "");
  CHECK_FALSE(Decoder::obstacle(Transformer(config.model_config, DType::float32, 1)) == "");
}

TEST_CASE("saved model: computes in the dtype that is asked for") {
  FinishedRun run;
  const SavedModel saved(find_checkpoint(run.folder), {.dtype = "bfloat16"});
  CHECK(saved.config.dtype == "bfloat16");
  const SafetensorsFile file(find_checkpoint(run.folder));
  for (const Parameter& parameter : saved.model->parameters().all()) {
    CHECK(parameter.var.value().dtype() == DType::bfloat16);
    const Tensor rounded = cast(file.read(parameter.name), DType::bfloat16);
    CHECK(parameter.var.value().to_vector() == rounded.to_vector());
  }
  CHECK(tokens_of(*saved.model, {.tokens = 10}).size() == 10);
  CHECK(SavedModel(find_checkpoint(run.folder), {.dtype = run.config.dtype}).config == run.config);

  run.config.dtype = "bfloat16";
  train(run.config, run.data.folder("narrow"));
  const SavedModel masters(find_checkpoint(run.data.folder("narrow")), {.dtype = "float32"});
  CHECK(masters.model->parameters().all()[0].var.value().dtype() == DType::float32);

  run.config.dtype = "float64";
  train(run.config, run.data.folder("wide"));
  expect_error([&] { SavedModel(find_checkpoint(run.data.folder("wide")), {.dtype = "bfloat16"}); },
               {"float64 weights", "leave --dtype out"});
}

TEST_CASE("saved model: stochastic masks are for NOISE_AND_LINEAR alone") {
  FinishedRun run;
  const std::string path = find_checkpoint(run.folder);
  const SavedModel stochastic(path, {.stochastic_masks = true});
  CHECK(stochastic.model->config().learned_dropout_config->use_noise_at_inference);
  auto refused_with = [&](const std::string& folder, auto change) {
    change(run.config.model_config);
    train(run.config, run.data.folder(folder));
    return error_of(
        [&] { SavedModel(find_checkpoint(run.data.folder(folder)), {.stochastic_masks = true}); });
  };
  CHECK(refused_with("sigmoid", [](ModelConfig& model) {
          model.learned_dropout_config->mask_rounding_type = MaskRounding::sigmoid;
        }).find("not NOISE_AND_LINEAR") != std::string::npos);
  CHECK(refused_with("baseline", [](ModelConfig& model) {
          model.learned_dropout_config.reset();
          model.use_dropout_l1_norm_penalty = false;
        }).find("has no masks") != std::string::npos);
}

TEST_CASE("checkpoints of a run: which one, and what is missing") {
  const TemporaryDirectory directory;
  const std::string run = directory.path.string();
  expect_error([&] { find_checkpoint(run + "/none"); }, {"/none: no such run", "./train"});
  expect_error([&] { find_checkpoint(run); }, {run, "no checkpoint"});
  directory.file("last.safetensors", "");
  CHECK(find_checkpoint(run) == run + "/last.safetensors");
  CHECK(find_checkpoint(run, "last") == run + "/last.safetensors");
  CHECK(find_checkpoint(run + "/last.safetensors") == run + "/last.safetensors");
  expect_error([&] { find_checkpoint(run, "best"); }, {"best.safetensors", "not there yet"});
  expect_error([&] { find_checkpoint(run, "bset"); }, {"bset: no such checkpoint"});
  directory.file("best.safetensors", "");
  CHECK(find_checkpoint(run) == run + "/best.safetensors");
  CHECK(find_checkpoint(run, run + "/last.safetensors") == run + "/last.safetensors");
  expect_error([&] { find_checkpoint(run + "/last.safetensors", "best"); }, {"is a checkpoint itself"});
  expect_error([&] { find_checkpoint(run + "/none", run + "/last.safetensors"); }, {"/none: no such run"});
  expect_error([&] { SavedModel(find_checkpoint(run)); }, {"best.safetensors", "0 bytes"});
}

TEST_CASE("tokenizer of a run: named by its data, or by hand") {
  const FinishedRun run;
  const std::string eleven =
      run.data.directory.file("eleven.chars", Tokenizer::chars("abcdefghij\n").file_text());
  const std::string twelve =
      run.data.directory.file("twelve.chars", Tokenizer::chars("abcdefghijk\n").file_text());
  CHECK_FALSE(tokenizer_of(run.config, run.folder).has_value());  // raw token files
  CHECK(tokenizer_of(run.config, run.folder, eleven)->vocabulary_size() == 11);
  expect_error([&] { tokenizer_of(run.config, run.folder, twelve); }, {"twelve.chars", "12 tokens", "11"});
  expect_error([&] { tokenizer_of(run.config, run.folder, eleven + "x"); }, {"eleven.charsx"});
  run.name_tokenizer(eleven);
  CHECK(tokenizer_of(run.config, run.folder)->vocabulary_size() == 11);
  run.name_tokenizer(eleven + "x");
  expect_error([&] { tokenizer_of(run.config, run.folder); },
               {"eleven.charsx: is not there", "data.toml", "--tokenizer"});
}

TEST_CASE("tokenizer of a run: a copy in its folder, whatever becomes of the data") {
  const SmallData data;
  const std::string ours = data.directory.file("letters.chars", Tokenizer::chars("abcdefghij\n").file_text());
  DataInfo info = small_data_info;
  info.tokenizer_path = ours;
  data.describe(info);
  const RunConfig config = small_run(data);
  const std::string folder = data.folder("run");
  train(config, folder);
  data.directory.file("letters.chars", Tokenizer::chars("0123456789\n").file_text());
  const std::vector<int32_t> third = {3};
  CHECK(tokenizer_of(config, folder)->decode(third) == Tokenizer::read(folder + "/tokenizer").decode(third));
  CHECK(tokenizer_of(config, folder)->decode(third) != Tokenizer::read(ours).decode(third));
  CHECK(train(config, folder, RunStart::overwrite) == RunEnd::finished);
  CHECK(tokenizer_of(config, folder)->decode(third) == Tokenizer::read(ours).decode(third));
}

}  // namespace ld
