// The exponential inside attention on the CPU.
#ifdef ENGINE_CPU
#include <doctest/doctest.h>

#include <cmath>

#include "ops/attention_cpu.h"

namespace ld {
namespace {

float exponential(float x) {
  return attention_cpu::exp_of_nonpositive(attention_cpu::vector_t<float>{} + x)[0];
}

}  // namespace

TEST_CASE("attention: the exponential is within 2 ulp of the exact one, everywhere it is used") {
  double worst = 0;
  for (int64_t i = 0; i < 1000000; ++i) {
    const float x = -87.0f * static_cast<float>(i) / 1e6f;
    const double exact = std::exp(static_cast<double>(x));
    const double ulp = std::nextafter(static_cast<float>(exact), INFINITY) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(exponential(x) - exact) / ulp);
  }
  INFO("worst: ", worst, " ulp");
  CHECK(worst <= 2);
  CHECK(exponential(0.0f) == 1.0f);
  CHECK(exponential(-0.0f) == 1.0f);
  for (float x : {-87.5f, -200.0f, -1e30f, -INFINITY}) CHECK(exponential(x) == 0.0f);
  CHECK(std::isnan(exponential(NAN)));
  // Rounding may leave a score a little above the logarithm it is compared with.
  for (float x : {1e-7f, 1e-3f, 1.0f}) CHECK(exponential(x) == doctest::Approx(std::exp(x)).epsilon(1e-6));
}

}  // namespace ld
#endif
