#include <doctest/doctest.h>

#include "ops/embedding.h"
#include "tests/cases.h"
#include "tests/expect.h"

namespace ld {
namespace {

// Ids that repeat, and leave some rows of the table unused.
Tensor some_ids(int64_t B, int64_t T, int64_t V) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < B * T; ++i) ids.push_back(static_cast<int32_t>(i * i * 7 % V));
  return Tensor::from(ids, {B, T});
}

OP_CASES(embedding) {
  struct Sizes {
    int64_t B, T, V, P, C;
  };
  for (Sizes s :
       {Sizes{1, 1, 1, 1, 1}, {3, 5, 7, 5, 31}, {2, 31, 5, 33, 3}, {2, 3, 33, 4, 33}, {3, 2, 4, 2, 1025}}) {
    std::ostringstream name;
    name << "B " << s.B << " T " << s.T << " V " << s.V << " P " << s.P << " C " << s.C;
    cases.add(
        name.str(),
        [ids = some_ids(s.B, s.T, s.V)](const std::vector<Var>& in) { return embedding(ids, in[0], in[1]); },
        {random_tensor({s.V, s.C}, 1), random_tensor({s.P, s.C}, 2)});
  }
  cases.add("from position 2 on",
            [ids = some_ids(2, 3, 7)](const std::vector<Var>& in) { return embedding(ids, in[0], in[1], 2); },
            {random_tensor({7, 3}, 1), random_tensor({6, 3}, 2)});
  cases
      .add("one table for both",
           [ids = some_ids(2, 4, 7)](const std::vector<Var>& in) { return embedding(ids, in[0], in[0]); },
           {random_tensor({7, 3}, 3)})
      .linear = true;
}

TEST_CASE("embedding: token row + position row") {
  const int64_t B = 3, T = 5, V = 7, C = 31;
  const Tensor ids = some_ids(B, T, V), tokens = random_tensor({V, C}, 1),
               positions = random_tensor({T + 2, C}, 2);
  const Tensor y = embedding(ids, tokens, positions).value();
  CHECK(y.shape() == Shape{B, T, C});
  const auto id = ids.to_vector(), tv = tokens.to_vector(), pv = positions.to_vector(), yv = y.to_vector();
  for (size_t i = 0; i < yv.size(); ++i) {
    const size_t row = i / 31, c = i % 31;
    CHECK(yv[i] == tv[static_cast<size_t>(id[row]) * 31 + c] + pv[row % 5 * 31 + c]);
  }
}

TEST_CASE("embedding: positions from a given one on") {
  const Tensor tokens = Tensor::zeros({1, 1}, DType::float64),
               positions = Tensor::from({1, 2, 3, 4, 5}, {5, 1}, DType::float64), ids = some_ids(1, 3, 1);
  CHECK(embedding(ids, tokens, positions, 2).value().to_vector() == std::vector<double>{3, 4, 5});
  expect_refusal([&] { embedding(ids, tokens, positions, 3); },
                 {"position table has shape (5, 1)", "at least 6"});
  expect_refusal([&] { embedding(ids, tokens, positions, -1); }, {"from position -1 on"});
}

TEST_CASE("embedding: a repeated token sums its gradients, an unused one gets zeros") {
  Var tokens = Var::leaf(random_tensor({4, 1}, 1)), positions = Var::leaf(random_tensor({5, 1}, 2));
  Tape tape;
  Var y = embedding(Tensor::from({2, 0, 2, 2, 1, 0}, {2, 3}), tokens, positions);
  tape.backward(y, Tensor::from({1, 2, 4, 8, 16, 32}, {2, 3, 1}, DType::float64));
  CHECK(tokens.gradient().to_vector() == std::vector<double>{34, 16, 13, 0});
  CHECK(positions.gradient().to_vector() == std::vector<double>{9, 18, 36, 0, 0});
}

TEST_CASE("embedding: misuse names both sides") {
  const Tensor tokens = random_tensor({7, 3}, 1), positions = random_tensor({4, 3}, 2),
               ids = some_ids(2, 4, 7);
  const Tensor longer = some_ids(2, 5, 7), flat = Tensor::from({1, 2}, {2}), real = random_tensor({2, 4}, 3);
  const Tensor wide = random_tensor({4, 5}, 4), single = cast(positions, DType::float32),
               vector = random_tensor({7}, 5);
  expect_refusal([&] { embedding(longer, tokens, positions); },
                 {"position table has shape (4, 3), expected (at least 5, 3)"});
  expect_refusal([&] { embedding(ids, tokens, wide); },
                 {"position table has shape (4, 5), expected (at least 4, 3)"});
  expect_refusal([&] { embedding(flat, tokens, positions); }, {"embedding: ids are int32 (2)", "(B, T)"});
  expect_refusal([&] { embedding(real, tokens, positions); }, {"embedding: ids are float64 (2, 4)"});
  expect_refusal([&] { embedding(ids, vector, positions); }, {"token table has shape (7)", "(V, C)"});
  expect_refusal([&] { embedding(ids, tokens, single); }, {"embedding", "float64 and float32"});
#ifndef ENGINE_CUDA  // there the data loader has looked at them
  const Tensor high = Tensor::from({1, 7}, {1, 2}), low = Tensor::from({-1, 6}, {1, 2});
  expect_refusal([&] { embedding(high, tokens, positions); },
                 {"embedding: id 7 at place 1 is not in [0, 7)"});
  expect_refusal([&] { embedding(low, tokens, positions); },
                 {"embedding: id -1 at place 0 is not in [0, 7)"});
#endif
}

}  // namespace
}  // namespace ld
