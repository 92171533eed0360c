#include "engine/normal.h"

#include <cmath>
#include <numbers>

namespace ld {

void fill_normal(const Tensor& t, double mean, double deviation, NoiseKey key) {
  std::vector<double> values(static_cast<size_t>(t.elements()));
  const auto pairs = static_cast<int64_t>(values.size() + 1) / 2;
#pragma omp parallel for schedule(static) if (pairs > 4096)
  for (int64_t p = 0; p < pairs; ++p) {
    // In (0, 1]: its logarithm is finite.
    const double u = (static_cast<double>(key.bits(0, 2 * p)) + 1.0) * 0x1p-32;
    const double angle = 2 * std::numbers::pi * static_cast<double>(key.bits(0, 2 * p + 1)) * 0x1p-32;
    const double radius = deviation * std::sqrt(-2 * std::log(u));
    const auto i = static_cast<size_t>(2 * p);
    values[i] = mean + radius * std::cos(angle);
    if (i + 1 < values.size()) values[i + 1] = mean + radius * std::sin(angle);
  }
  t.assign(values);
}

}  // namespace ld
