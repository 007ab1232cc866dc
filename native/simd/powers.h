// Owns the numbers behind e^x as 2^(n + f): what both kinds of vectors compute it with.
#pragma once

namespace weir {

constexpr float kLog2E = 1.44269504088896341f;
// 1.5 · 2²³: a sum with it is rounded to a whole number, and its lowest bits are that number's.
constexpr float kRounder = 12582912.0f;
// e^x below this, 2e-38, would not be a normal float any more.
constexpr float kLeastExponent = -87.0f;
// 2^f for |f| ≤ 1/2 as a polynomial, highest power first, which is 1 at 0: minimax, off by 2e-8.
constexpr float kPowerOfTwo[] = {1.69484923e-4f, 1.34355138e-3f, 9.61263676e-3f, 5.55020443e-2f,
                                 2.40226963e-1f, 6.93147303e-1f, 1.0f};

}  // namespace weir
