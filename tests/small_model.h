// Models small enough to be looked at element by element, one for each way the mathematics can go.
#pragma once

#include <string>
#include <vector>

#include "model/transformer.h"

namespace ld {

struct ModelVariant {
  std::string name;
  ModelConfig config;
};

/// C = 6, two blocks, eleven tokens, contexts up to 6; dropout_rate 0.2 in the places LearnedDropout leaves.
ModelConfig small_baseline();
/// The same with LearnedDropout: two mask heads, shift_init 0.7, noise rounding, no penalty.
ModelConfig small_learned(DropoutInput input = DropoutInput::hidden_state, bool detached = false);

/// Baseline with and without bias; each input of the masks, detached or not; each rounding; each penalty;
/// each mask function and placement.
std::vector<ModelVariant> model_variants();

/// A model with weights so large that every gradient counts, and none at its special first value: the weights
/// of a fresh model are so small that a wrong gradient could hide.
Transformer lively_model(const ModelConfig& config, DType dtype = DType::float64, uint64_t seed = 1);

/// Random tokens, a pure function of the seed; ids and targets alike.
Tensor random_tokens(int64_t B, int64_t T, int64_t V, uint64_t seed);

/// A training pass with this seed, in step 3.
Pass training_pass(uint64_t seed = 5);

/// The place of the named parameter in model.parameters().all().
size_t place_of(const Transformer& model, const std::string& name);
/// Whether use_detached_input cuts the parameter off from every loss: the weights of E_dropout.
bool is_cut_off(const ModelConfig& config, const Parameter& parameter);

/// While one lives, kernels run on so many threads.
class Threads {
 public:
  explicit Threads(int count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// Thousands of runs of a tiny model are faster on one, by far when other programs use the cores as well: threads that
/// meet often spend their time waiting for each other.
struct OneThread : Threads {
  OneThread() : Threads(1) {}
};

/// What one forward and backward pass leaves.
struct ModelRun {
  double loss = 0, cross_entropy = 0;
  std::vector<std::vector<double>> masks;  // the statistics of each block
  std::vector<Tensor> gradients;           // in the order of parameters().all(); empty where none arrived
};
ModelRun run_model(Transformer& model, const Tensor& ids, const Tensor& targets, const Pass& pass);

}  // namespace ld
