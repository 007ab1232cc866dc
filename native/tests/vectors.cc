// The vector library against plain arithmetic.
#include "simd/lanes.h"
#include "tests/testing.h"

using namespace weir;
using namespace weir::testing;

TEST("bfloat16 rounds to nearest, ties to even, and keeps NaN and infinity") {
  CHECK(roundBits(1.0f) == 0x3f80);
  CHECK(roundBits(1.00390625f) == 0x3f80);   // half way, to even
  CHECK(roundBits(1.01171875f) == 0x3f82);   // half way, to even
  CHECK(roundBits(INFINITY) == 0x7f80);
  CHECK((roundBits(NAN) & 0x7fff) > 0x7f80);
}

TEST("vectors of either kind round as single numbers do") {
  Numbers numbers(5);
  auto values = numbers.take(16, 1e20f);
  values[3] = NAN;
  values[7] = INFINITY;
  bfloat16 lanes[16], floats[16];
  store(lanes, loadLanes(values.data()));
  for (int i = 0; i < 16; i += kFloats) store(floats + i, load(values.data() + i));
  for (size_t i = 0; i < 16; ++i) {
    CHECK(lanes[i].bits == floats[i].bits);
    if (!std::isnan(values[i])) CHECK(lanes[i].bits == roundBits(values[i]));
    else CHECK(std::isnan(toFloat(lanes[i])));
  }
}

TEST("exponentials are as close as they say over their range") {
  for (float x = -80.0f; x <= 0.0f; x += 0.37f) {
    const float small = smallExponential(splat(x))[0];
    float lanes[16];
    store(lanes, expOfDifference(splatLanes(x), splatLanes(0.0f), float()));
    const double expected = std::exp(double(x));
    // Two units in the last place, and what the rounding of log₂e makes of a large |x|.
    const double tolerance = expected * (2.4e-7 + 1.4e-8 * std::abs(x));
    CHECK_NEAR(small, expected, tolerance);
    CHECK_NEAR(lanes[0], expected, tolerance);
  }
  for (float x = -100.0f; x <= 88.0f; x += 0.91f) {
    const double expected = std::exp(double(x));
    CHECK_NEAR(exponential(splat(x))[0], expected, expected * 2e-7 + 1e-44);
  }
  CHECK(std::isnan(exponential(splat(NAN))[0]));
}

TEST("sums and maxima of lanes take every lane") {
  float values[16];
  for (int i = 0; i < 16; ++i) values[i] = float(i) - 20.0f;
  CHECK_NEAR(sumOf(loadLanes(values)), -200.0, 0.0);
  CHECK_NEAR(largestOf(loadLanes(values)), -5.0, 0.0);
  CHECK_NEAR(sumLanes(load(values)), [&] { double s = 0; for (int i = 0; i < kFloats; ++i) s += values[i]; return s; }(), 0.0);
}

TEST("part of a vector is loaded and stored without touching what follows") {
  float from[17], to[17];
  for (int i = 0; i < 17; ++i) from[i] = float(i), to[i] = -1.0f;
  store(to, loadLanes(from, 5), 5);
  for (int i = 0; i < 17; ++i) CHECK_NEAR(to[i], i < 5 ? i : -1, 0.0);
}
