// The exponential of softmax on the CPU.
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

}  // namespace ld
#endif
