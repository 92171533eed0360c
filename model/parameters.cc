#include "model/parameters.h"

#include "engine/normal.h"
#include "model/sites.h"
#include "ops/convert.h"

namespace ld {

Var Parameters::normal(const std::string& name, const Shape& shape, double deviation, double mean,
                       double lr_factor) {
  MemoryScope scope(MemoryUse::weights);
  Tensor value(shape, master_dtype());
  if (seed_)
    fill_normal(value, mean, deviation,
                {*seed_, 0, static_cast<uint32_t>(all_.size()), sites::initial_weights});
  return add(name, value, lr_factor);
}

Var Parameters::constant(const std::string& name, const Shape& shape, double value) {
  MemoryScope scope(MemoryUse::weights);
  const std::vector<double> values(static_cast<size_t>(shape.elements()), value);
  return add(name, Tensor::from(values, shape, master_dtype()));
}

int64_t Parameters::elements() const {
  int64_t n = 0;
  for (const Parameter& p : all_) n += p.var.value().elements();
  return n;
}

void Parameters::zero_gradients() {
  for (Parameter& p : all_) p.var.zero_gradient();
}

void Parameter::renew_copy() const {
  if (!has_copy()) return;
  Tensor copy = var.value();
  copy.copy_from(convert(master, copy.dtype()).value());
}

Var Parameters::add(const std::string& name, Tensor master, double lr_factor) {
  const Tensor value = dtype_ == master.dtype() ? master : Tensor(master.shape(), dtype_);
  const bool decays = master.shape().rank() >= 2;
  all_.push_back({name, Var::leaf(value, name, master.dtype()), master, decays, lr_factor});
  all_.back().renew_copy();
  return all_.back().var;
}

}  // namespace ld
