// The baseline, of which the published runs with ordinary dropout are made, as a composition of ops: a Dropout in each
// of its places, each with noise of its own.
#include <doctest/doctest.h>

#include <set>

#include "model/sites.h"
#include "ops/attention.h"
#include "ops/binary.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layernorm.h"
#include "ops/linear.h"
#include "ops/unary.h"
#include "tests/expect.h"
#include "tests/small_model.h"

namespace ld {
namespace {

struct Rates {
  double attention, elsewhere;
};

Var logits_by_hand(const Transformer& model, const Tensor& ids, const NoiseKey& noise, Rates rates) {
  auto parameter = [&](const std::string& name) {
    return model.parameters().all()[place_of(model, name + ".weight")].var;
  };
  auto dropped = [&](const Var& x, uint32_t site) { return dropout(x, rates.elsewhere, noise.at(site)); };
  const Var tokens = parameter("token_embedding");
  Var x = dropped(embedding(ids, tokens, parameter("position_embedding")), 0);
  for (uint32_t layer = 0; layer < model.config().n_layer; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    const uint32_t site = 16 + 8 * layer;
    auto project = [&](const Var& in, const std::string& name) {
      return linear(in, parameter(block + name));
    };
    const Var qkv = project(layernorm(x, parameter(block + "layernorm1")), "attention.qkv"),
              heads = causal_attention(qkv, model.config().n_head, {rates.attention, noise.at(site)});
    x = add(x, dropped(project(heads, "attention.projection"), site + 1));
    const Var wide = gelu(project(layernorm(x, parameter(block + "layernorm2")), "feed_forward.expand"));
    x = add(x, dropped(project(wide, "feed_forward.contract"), site + 2));
  }
  return linear(layernorm(x, parameter("final_layernorm")), tokens);
}

}  // namespace

TEST_CASE(
    "model dropout: the baseline drops in its four places, with noise of its own in each, and in training") {
  ModelConfig config = small_baseline();
  config.n_layer = 3;
  const Tensor ids = random_tokens(2, 6, 11, 3);
  const Pass training = training_pass(), evaluation{.training = false, .noise = training.noise};
  auto expect = [&](const Pass& pass, Rates rates) {
    const Transformer model = lively_model(config);
    const double error = relative_difference(model.logits(ids, pass).value(),
                                             logits_by_hand(model, ids, training.noise, rates).value());
    INFO("attention ", rates.attention, ", elsewhere ", rates.elsewhere, ": error ", error);
    CHECK_FALSE(!(error <= 1e-12));
  };
  REQUIRE(config.dropout_rate == 0.2);
  expect(training, {0.2, 0.2});
  expect(evaluation, {0, 0});
  config.keep_attention_dropout_in_evaluation = true;
  expect(training, {0.2, 0.2});
  expect(evaluation, {0.2, 0});
}

TEST_CASE("model dropout: no two places draw the same noise") {
  std::set<uint32_t> all = {sites::embedding_dropout, sites::embedding_mask, sites::initial_weights,
                            sites::train_batches,     sites::train_estimate, sites::val_estimate,
                            sites::next_token};
  CHECK(all.size() == 7);
  for (int64_t layer = 0; layer < 100; ++layer)
    for (sites::Block place :
         {sites::attention_probabilities, sites::attention_output, sites::feed_forward,
          sites::feed_forward_mask, sites::attention_output_mask, sites::attention_probabilities_mask})
      CHECK(all.insert(sites::block(layer, place)).second);
}

}  // namespace ld
