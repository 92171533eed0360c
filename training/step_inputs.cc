#include "training/step_inputs.h"

#include "model/sites.h"

namespace ld {

// The losses are of the dtype of the masters.
StepInputs::StepInputs(const Transformer& model, const TokenFile& file, int64_t batch_size)
    : model_(model),
      file_(file),
      tokens_(Tensor({2, batch_size, model.config().context_size}, DType::int32)),
      place_(Tensor({2}, DType::int32)),
      coefficients_(Tensor({2}, model.parameters().master_dtype())) {
  const Shape shape{batch_size, model.config().context_size};
  batch_ = {tokens_.target().part(0, shape), tokens_.target().part(shape.elements(), shape)};
  pass_ = {.training = true, .penalty_coefficients = coefficients_.target()};
}

void StepInputs::draw(const NoiseKey& noise) {
  const int64_t B = batch_.ids.size(0), T = batch_.ids.size(1);
  auto* ids = tokens_.open<int32_t>();
  draw_tokens(ids, ids + B * T, file_, B, T, noise.at(sites::train_batches));
  drawn_ = {noise.step, noise.first_sample};
}

void StepInputs::load(const NoiseKey& noise) {
  if (drawn_ != std::pair{noise.step, noise.first_sample}) draw(noise);
  tokens_.send();
  drawn_.reset();
  *place_.open<NoisePlace>() = {noise.step, noise.first_sample};
  place_.send();
  const auto coefficients = model_.penalty_coefficients(noise.step);
  if (coefficients_.target().dtype() == DType::float64)
    std::copy(coefficients.begin(), coefficients.end(), coefficients_.open<double>());
  else
    std::copy(coefficients.begin(), coefficients.end(), coefficients_.open<float>());
  coefficients_.send();
  pass_.noise = noise;
  pass_.noise.place = static_cast<const NoisePlace*>(place_.target().raw());
}

}  // namespace ld
