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
    const double error = std::abs(math::exp_of_nonpositive(x) - exact) / ulp;
    if (!(error <= worst)) worst = error;  // a NaN, too
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

TEST_CASE("standard_normal: Φ within 1.3e-7, its density within 1e-7, the left tail to 2e-4 of itself") {
  for (int64_t i = -1000000; i <= 1000000; ++i) {
    const float x = 1e-5f * static_cast<float>(i);
    const double exact = 0.5 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0));
    const double bell = std::exp(-0.5 * static_cast<double>(x) * x) / std::sqrt(2 * M_PI);
    const auto [cumulative, density] = math::standard_normal(x);
    const bool as_promised = std::abs(cumulative - exact) <= 1.3e-7 && std::abs(density - bell) <= 1e-7 &&
                             (x <= -4 || std::abs(cumulative / exact - 1) <= 2e-4);
    if (!as_promised) FAIL("at ", x, ": ", cumulative, " (", exact, "), density ", density, " (", bell, ")");
  }
  CHECK(math::standard_normal(0.0f).cumulative == 0.5f);
  for (float x : {20.0f, 1e30f, INFINITY}) {
    CHECK(math::standard_normal(x).cumulative == 1.0f);
    CHECK(math::standard_normal(-x).cumulative == 0.0f);
    CHECK(math::standard_normal(x).density == 0.0f);
  }
  CHECK(std::isnan(math::standard_normal(NAN).cumulative));
  CHECK(std::isnan(math::standard_normal(NAN).density));
}

}  // namespace ld
#endif
