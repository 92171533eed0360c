#include "model/parameters.h"

#include "engine/normal.h"
#include "model/sites.h"

namespace ld {

Var Parameters::normal(const std::string& name, const Shape& shape, double deviation) {
  MemoryScope scope(MemoryUse::weights);
  Tensor value(shape, dtype_);
  if (seed_)
    fill_normal(value, 0, deviation, {*seed_, 0, static_cast<uint32_t>(all_.size()), sites::initial_weights});
  return add(name, value, true);
}

Var Parameters::constant(const std::string& name, const Shape& shape, double value) {
  MemoryScope scope(MemoryUse::weights);
  return add(name,
             Tensor::from(std::vector<double>(static_cast<size_t>(shape.elements()), value), shape, dtype_),
             false);
}

int64_t Parameters::elements() const {
  int64_t n = 0;
  for (const Parameter& p : all_) n += p.var.value().elements();
  return n;
}

void Parameters::zero_gradients() {
  for (Parameter& p : all_) p.var.zero_gradient();
}

Var Parameters::add(const std::string& name, Tensor value, bool decays) {
  all_.push_back({name, Var::leaf(std::move(value), name), decays});
  return all_.back().var;
}

}  // namespace ld
