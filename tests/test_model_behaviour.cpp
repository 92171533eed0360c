// What a model must never do: look ahead, depend on what else is in the batch, or be random in evaluation.
#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "tests/expect.h"
#include "tests/small_model.h"

namespace ld {
namespace {

// Logits of position t of each sample, as bits to compare: (B, V) values.
std::vector<double> logits_at(const std::vector<double>& logits, int64_t B, int64_t T, int64_t V, int64_t t) {
  std::vector<double> rows;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t v = 0; v < V; ++v) rows.push_back(logits[static_cast<size_t>((b * T + t) * V + v)]);
  return rows;
}

Tensor with_other_token(const Tensor& ids, int64_t t) {
  const std::vector<double> values = ids.to_vector();
  std::vector<int32_t> changed(values.begin(), values.end());
  for (int64_t b = 0; b < ids.size(0); ++b) {
    int32_t& id = changed[static_cast<size_t>(b * ids.size(1) + t)];
    id = (id + 1) % 11;
  }
  return Tensor::from(changed, ids.shape());
}

Tensor samples_of(const Tensor& ids, int64_t first, int64_t count) {
  const std::vector<double> values = ids.to_vector();
  const auto begin = values.begin() + first * ids.size(1);
  return Tensor::from(std::vector<int32_t>(begin, begin + count * ids.size(1)), {count, ids.size(1)});
}

std::vector<double> logits(const Transformer& model, const Tensor& ids, const Pass& pass) {
  return model.logits(ids, pass).value().to_vector();
}

Pass evaluation(uint64_t seed) { return {.training = false, .noise = {.seed = seed}}; }

}  // namespace

TEST_CASE("model behaviour: a token changes the logits from its place on, and no bit before") {
  const OneThread one_thread;
  const int64_t B = 2, T = 6, V = 11;
  const Tensor ids = random_tokens(B, T, V, 3);
  for (const ModelVariant& v : model_variants())
    for (DType dtype : {DType::float32, DType::float64})
      for (const Pass& pass : {training_pass(), evaluation(1)}) {
        INFO(v.name, " ", std::string(name_of(dtype)),
             std::string(pass.training ? ", training" : ", evaluation"));
        const Transformer model = lively_model(v.config, dtype);
        const auto before = logits(model, ids, pass);
        for (int64_t changed = 0; changed < T; ++changed) {
          const auto after = logits(model, with_other_token(ids, changed), pass);
          for (int64_t t = 0; t < T; ++t) {
            INFO("changed token ", changed, ", logits of ", t);
            CHECK((logits_at(before, B, T, V, t) == logits_at(after, B, T, V, t)) == (t < changed));
          }
        }
      }
}

TEST_CASE("model behaviour: samples of a batch do not see each other") {
  const OneThread one_thread;
  const Tensor ids = random_tokens(3, 6, 11, 4);
  for (const ModelVariant& v : model_variants()) {
    INFO(v.name);
    const Transformer model = lively_model(v.config);
    const auto together = logits(model, ids, training_pass());
    for (int64_t b = 0; b < 3; ++b) {
      Pass pass = training_pass();
      pass.noise.first_sample = static_cast<uint32_t>(b);
      const auto alone = logits(model, samples_of(ids, b, 1), pass);
      const std::vector<double> same(together.begin() + b * 66, together.begin() + (b + 1) * 66);
      CHECK(relative_difference(alone, same) <= 1e-13);
    }
  }
}

TEST_CASE("model behaviour: evaluation is not random, training is") {
  const OneThread one_thread;
  const Tensor ids = random_tokens(2, 6, 11, 5), targets = random_tokens(2, 6, 11, 6);
  for (const ModelVariant& v : model_variants())
    for (bool literal : {false, true}) {
      INFO(v.name, std::string(literal ? ", literal" : ""));
      const Transformer model = lively_model(v.config);
      auto with = [&](Pass pass) {
        pass.literal = literal;
        return logits(model, ids, pass);
      };
      CHECK(with(evaluation(1)) == with(evaluation(2)));
      CHECK(with(training_pass(1)) == with(training_pass(1)));
      // Only a model whose every Dropout is a mask without rounding has nothing random in training either.
      const auto& learned = v.config.learned_dropout_config;
      const bool random = !learned || learned->mask_function == MaskFunction::attention ||
                          learned->placement == DropoutPlacement::feed_forward ||
                          learned->mask_rounding_type != MaskRounding::none;
      CHECK((with(training_pass(1)) != with(training_pass(2))) == random);
      CHECK((with(training_pass(1)) != with(evaluation(1))) == random);
      // In evaluation there is no penalty in the loss, and mistakes are counted.
      const Losses losses = model(ids, targets, evaluation(1));
      CHECK(losses.loss.value().item() == losses.cross_entropy.value().item());
      CHECK_FALSE(losses.penalty);
      CHECK(losses.mistakes);
    }
}

TEST_CASE("model behaviour: use_noise_at_inference keeps the noise of the masks, and only that") {
  const Tensor ids = random_tokens(2, 6, 11, 5);
  for (DropoutInput input : {DropoutInput::hidden_state, DropoutInput::embed}) {
    ModelConfig config = small_learned(input);
    config.learned_dropout_config->use_noise_at_inference = true;
    const Transformer model = lively_model(config);
    CHECK(logits(model, ids, evaluation(1)) == logits(model, ids, evaluation(1)));
    CHECK(logits(model, ids, evaluation(1)) != logits(model, ids, evaluation(2)));
    // With no ordinary dropout left, training computes the very same.
    config.dropout_rate = 0;
    const Transformer quiet = lively_model(config);
    Pass training = evaluation(1);
    training.training = true;
    CHECK(logits(quiet, ids, training) == logits(quiet, ids, evaluation(1)));
    CHECK(logits(quiet, ids, evaluation(1)) == logits(model, ids, evaluation(1)));
  }
}

TEST_CASE("model behaviour: every layer, step, sample and seed has noise of its own") {
  ModelConfig config = small_learned();
  config.dropout_rate = 0;
  const Transformer model = lively_model(config);
  const Tensor ids = random_tokens(1, 6, 11, 5);
  std::vector<std::vector<double>> results;
  for (const NoiseKey& key :
       {NoiseKey{1, 0, 0, 0}, NoiseKey{2, 0, 0, 0}, NoiseKey{1, 1, 0, 0}, NoiseKey{1, 0, 1, 0}})
    results.push_back(logits(model, ids, {.training = true, .noise = key}));
  for (size_t i = 0; i < results.size(); ++i)
    for (size_t j = 0; j < i; ++j) CHECK(results[i] != results[j]);
}

TEST_CASE("model behaviour: micro-batches add up to their batch, in loss, gradients and statistics") {
  const OneThread one_thread;
  const Tensor ids = random_tokens(4, 6, 11, 7), targets = random_tokens(4, 6, 11, 8);
  for (const ModelVariant& v : model_variants()) {
    INFO(v.name);
    Transformer model = lively_model(v.config);
    const ModelRun whole = run_model(model, ids, targets, training_pass());
    for (int64_t size : {1, 2}) {
      const double share = static_cast<double>(size) / 4;
      double loss = 0;
      std::vector<std::vector<double>> masks(whole.masks.size(), std::vector<double>(mask_statistics, 0)),
          gradients;
      for (const Tensor& g : whole.gradients)
        gradients.emplace_back(g ? static_cast<size_t>(g.elements()) : 0, 0.0);
      for (int64_t first = 0; first < 4; first += size) {
        Pass pass = training_pass();
        pass.noise.first_sample = static_cast<uint32_t>(first);
        const ModelRun part =
            run_model(model, samples_of(ids, first, size), samples_of(targets, first, size), pass);
        loss += share * part.loss;
        for (size_t block = 0; block < masks.size(); ++block)
          for (size_t i = 0; i < masks[block].size(); ++i) masks[block][i] += share * part.masks[block][i];
        for (size_t k = 0; k < gradients.size(); ++k) {
          if (!part.gradients[k]) continue;
          const auto g = part.gradients[k].to_vector();
          for (size_t i = 0; i < g.size(); ++i) gradients[k][i] += share * g[i];
        }
      }
      CHECK(loss == doctest::Approx(whole.loss).epsilon(1e-13));
      for (size_t block = 0; block < masks.size(); ++block)
        CHECK_FALSE(!(relative_difference(masks[block], whole.masks[block]) <= 1e-13));
      for (size_t k = 0; k < gradients.size(); ++k) {
        INFO(model.parameters().all()[k].name);
        if (!whole.gradients[k]) continue;
        const double error = relative_difference(gradients[k], whole.gradients[k].to_vector());
        INFO("error ", error);
        CHECK_FALSE(!(error <= 1e-11));
      }
    }
  }
}

TEST_CASE("model behaviour: a target below zero is not counted") {
  Transformer model = lively_model(small_learned());
  const Tensor ids = random_tokens(1, 6, 11, 5);
  const ModelRun five =
      run_model(model, ids, Tensor::from(std::vector<int32_t>{1, 2, 3, 4, 5, -1}, {1, 6}), evaluation(1));
  const auto first = samples_of(ids, 0, 1).to_vector();
  const Tensor prefix = Tensor::from(std::vector<int32_t>(first.begin(), first.end() - 1), {1, 5});
  const ModelRun same =
      run_model(model, prefix, Tensor::from(std::vector<int32_t>{1, 2, 3, 4, 5}, {1, 5}), evaluation(1));
  CHECK(five.loss == doctest::Approx(same.loss).epsilon(1e-13));
}

}  // namespace ld
