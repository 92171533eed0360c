#include "model/parameters.h"

#include "engine/normal.h"
#include "model/sites.h"

namespace ld {

Var Parameters::normal(const std::string& name, const Shape& shape, double deviation, double mean,
                       double lr_factor) {
  MemoryScope scope(MemoryUse::weights);
  Tensor value(shape, dtype_);
  if (seed_)
    fill_normal(value, mean, deviation,
                {*seed_, 0, static_cast<uint32_t>(all_.size()), sites::initial_weights});
  return add(name, value, lr_factor);
}

Var Parameters::constant(const std::string& name, const Shape& shape, double value) {
  MemoryScope scope(MemoryUse::weights);
  return add(name,
             Tensor::from(std::vector<double>(static_cast<size_t>(shape.elements()), value), shape, dtype_));
}

int64_t Parameters::elements() const {
  int64_t n = 0;
  for (const Parameter& p : all_) n += p.var.value().elements();
  return n;
}

void Parameters::zero_gradients() {
  for (Parameter& p : all_) p.var.zero_gradient();
}

Var Parameters::add(const std::string& name, Tensor value, double lr_factor) {
  const bool decays = value.shape().rank() >= 2;
  all_.push_back({name, Var::leaf(std::move(value), name), decays, lr_factor});
  return all_.back().var;
}

}  // namespace ld
