// Owns bfloat16, the upper half of a float: its storage and its rounding, to nearest with ties to even. NaN stays NaN.
#pragma once

#include <cstdint>
#include <cstring>

#define WEIR_INLINE inline __attribute__((always_inline))

namespace weir {

struct bfloat16 {
  uint16_t bits;
};

WEIR_INLINE float toFloat(float x) { return x; }
WEIR_INLINE float toFloat(bfloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// Upper half of x, rounded.
WEIR_INLINE uint16_t roundBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace weir
