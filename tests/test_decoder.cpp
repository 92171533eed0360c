// Decoding with a cache against running the whole window for every token.
#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "model/decoder.h"
#include "tests/expect.h"
#include "tests/small_model.h"
#include "training/generate.h"

namespace ld {
namespace {

const std::vector<int32_t> text = {3, 1, 10, 0, 7, 7, 2, 9, 4, 1, 1, 8};  // twice the context of the models

bool masks_probabilities(const ModelConfig& config) {
  return is_learned(config, DropoutPlace::attention_probabilities);
}

// Each variant, and again with noise at inference where there is noise.
std::vector<ModelVariant> decoded_variants() {
  std::vector<ModelVariant> variants;
  for (ModelVariant variant : model_variants()) {
    variants.push_back(variant);
    auto& dropout = variant.config.learned_dropout_config;
    if (!dropout || dropout->mask_rounding_type != MaskRounding::noise_and_linear) continue;
    dropout->use_noise_at_inference = true;
    variants.push_back({variant.name + ", stochastic", variant.config});
  }
  return variants;
}

// The logits after text[0 … end): the model's own, of the window that ends there.
Tensor logits_of_window(const Transformer& model, int64_t end, const NoiseKey& noise) {
  const int64_t begin = std::max<int64_t>(0, end - model.config().context_size), n = end - begin;
  const Tensor ids = Tensor::from(std::vector<int32_t>(text.begin() + begin, text.begin() + end), {1, n});
  const auto all = model.logits(ids, {.noise = noise}).value().to_vector();
  const int64_t V = model.config().alphabet_size;
  return Tensor::from(std::vector<double>(all.end() - V, all.end()), {V}, DType::float64);
}

// The text in a prompt and single tokens: the worst difference of the logits after each.
double worst_difference(const Transformer& model, int64_t prompt, Caching caching, const NoiseKey& noise) {
  Decoder decoder(model, noise, caching);
  double worst = 0;
  for (int64_t begin = 0, end = prompt; end <= std::ssize(text); begin = end++) {
    const Tensor logits =
        decoder.append(std::span(text).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    const double difference =
        relative_difference(logits.to_vector(), logits_of_window(model, end, noise).to_vector());
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

}  // namespace

TEST_CASE("decoder: cached logits are those of the whole window, in every variant, past the context too") {
  const OneThread one_thread;
  const NoiseKey noise{.seed = 4, .first_sample = 3};
  for (const ModelVariant& variant : decoded_variants())
    for (int64_t prompt : {1, 6, 9}) {
      INFO(variant.name, ", prompt of ", prompt);
      CHECK(worst_difference(lively_model(variant.config), prompt, Caching::off, noise) == 0);
      if (masks_probabilities(variant.config)) continue;
      CHECK(worst_difference(lively_model(variant.config), prompt, Caching::on, noise) < 1e-13);
      CHECK(worst_difference(lively_model(variant.config, DType::float32), prompt, Caching::on, noise) <
            1e-5);
    }
}

TEST_CASE("decoder: in bfloat16 the cache changes no more than rounding does") {
  for (const ModelVariant& variant : decoded_variants()) {
    INFO(variant.name);
    if (masks_probabilities(variant.config)) continue;
    const Transformer model = lively_model(variant.config, DType::bfloat16);
    Decoder cached(model, {.seed = 4}), whole(model, {.seed = 4}, Caching::off);
    for (size_t i = 0; i < text.size(); ++i) {
      const Tensor a = cached.append(std::span(text).subspan(i, 1)),
                   b = whole.append(std::span(text).subspan(i, 1));
      CHECK(a.dtype() == DType::float32);
      // Sums in another order: now and then one of them is rounded the other way, by 2⁻⁸, and passes through
      // two blocks.
      CHECK(relative_difference(a.to_vector(), b.to_vector()) < 0x1p-6);
    }
  }
}

TEST_CASE("decoder: stochastic masks differ from sample to sample, and from the deterministic ones") {
  ModelConfig config = small_learned();
  config.learned_dropout_config->use_noise_at_inference = true;
  const Transformer noisy = lively_model(config), plain = lively_model(small_learned());
  auto logits = [](const Transformer& model, uint32_t sample) {
    Decoder decoder(model, {.seed = 4, .first_sample = sample});
    decoder.append(std::span(text).first(3));
    return decoder.append(std::span(text).subspan(3, 1));
  };
  CHECK(same_bits(logits(noisy, 0), logits(noisy, 0)));
  CHECK_FALSE(same_bits(logits(noisy, 0), logits(noisy, 1)));
  CHECK_FALSE(same_bits(logits(noisy, 0), logits(plain, 0)));
  CHECK(same_bits(logits(plain, 0), logits(plain, 1)));
}

TEST_CASE("decoder: greedy text is the same with and without the cache") {
  for (const ModelVariant& variant : decoded_variants()) {
    INFO(variant.name);
    if (masks_probabilities(variant.config)) continue;
    const Transformer model = lively_model(variant.config, DType::float32);
    auto greedy = [&](Caching caching) {
      std::vector<int32_t> tokens;
      const GenerateOptions options{.tokens = 15, .sampling = {.temperature = 0}, .caching = caching};
      generate(model, std::span(text).first(2), 11, options, [&](int32_t token) {
        tokens.push_back(token);
        return true;
      });
      return tokens;
    };
    CHECK(greedy(Caching::on).size() == 15);
    CHECK(greedy(Caching::on) == greedy(Caching::off));
  }
}

TEST_CASE("decoder: nothing is recorded on a tape") {
  const Transformer model = lively_model(small_learned());
  Tape tape;
  for (Caching caching : {Caching::on, Caching::off}) Decoder(model, {}, caching).append(text);
  CHECK(tape.size() == 0);
}

TEST_CASE("decoder: a model that needs the whole window is refused, and decoded without the cache") {
  for (const ModelVariant& variant : model_variants())
    CHECK(Decoder::obstacle(Transformer(variant.config, DType::float32, 1)).empty() !=
          masks_probabilities(variant.config));
  ModelConfig published = small_baseline();
  published.keep_attention_dropout_in_evaluation = true;
  const Transformer model(published, DType::float32, 1);
  expect_error([&] { Decoder decoder(model); }, {"decoder: keep_attention_dropout_in_evaluation", "without"});
  CHECK(Decoder(model, {}, Caching::off).append(text).shape() == Shape{11});
}

TEST_CASE("decoder: a text begins with a token") {
  const Transformer model(small_baseline(), DType::float32, 1);
  Decoder decoder(model);
  expect_error([&] { decoder.append({}); }, {"decoder", "no tokens"});
}

}  // namespace ld
