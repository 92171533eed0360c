// The functions that engine/math.h makes itself in float on the CPU.
#ifdef ENGINE_CPU
#include <doctest/doctest.h>

#include <cmath>

#include "engine/math.h"

namespace ld {

TEST_CASE("exp_of_nonpositive: within 2 ulp of the exact one, everywhere it is used") {
  double worst = 0;
  for (int64_t i = 0; i < 1000000; ++i) {
    const float x = -87.0f * static_cast<float>(i) / 1e6f;
    const double exact = std::exp(static_cast<double>(x));
    const double ulp = std::nextafter(static_cast<float>(exact), INFINITY) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(math::exp_of_nonpositive(x) - exact) / ulp);
  }
  INFO("worst: ", worst, " ulp");
  CHECK(worst <= 2);
  CHECK(math::exp_of_nonpositive(0.0f) == 1.0f);
  CHECK(math::exp_of_nonpositive(-0.0f) == 1.0f);
  for (float x : {-87.5f, -200.0f, -1e30f, -INFINITY}) CHECK(math::exp_of_nonpositive(x) == 0.0f);
  CHECK(std::isnan(math::exp_of_nonpositive(NAN)));
  // Rounding may leave a score a little above the logarithm it is compared with.
  for (float x : {1e-7f, 1e-3f, 1.0f})
    CHECK(math::exp_of_nonpositive(x) == doctest::Approx(std::exp(x)).epsilon(1e-6));
}

TEST_CASE(
    "normal: its distribution within 1.3e-7, its density within 1e-7, the left tail to 2e-4 of itself") {
  double cumulative = 0, density = 0, tail = 0;
  for (int64_t i = -1000000; i <= 1000000; ++i) {
    const float x = 1e-5f * static_cast<float>(i);
    const double exact = 0.5 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0));
    const double bell = std::exp(-0.5 * static_cast<double>(x) * x) / std::sqrt(2 * M_PI);
    const auto [phi, slope] = math::normal(x);
    cumulative = std::max(cumulative, std::abs(phi - exact));
    density = std::max(density, std::abs(slope - bell));
    if (x > -4) tail = std::max(tail, std::abs(phi / exact - 1));
  }
  INFO("worst: ", cumulative, ", ", density, ", ", tail);
  CHECK(cumulative <= 1.3e-7);
  CHECK(density <= 1e-7);
  CHECK(tail <= 2e-4);
  CHECK(math::normal(0.0f).cumulative == 0.5f);
  CHECK(math::normal(20.0f).cumulative == 1.0f);
  for (float x : {-20.0f, -1e30f, -INFINITY}) CHECK(math::normal(x).cumulative == 0.0f);
  CHECK(std::isnan(math::normal(NAN).cumulative));
}

}  // namespace ld
#endif
