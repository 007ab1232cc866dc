// Owns storing single numbers in either type; numbers.h reads them (valueOf).
#pragma once

#include <cstdint>
#include <cstring>

#include "simd/floats.h"

namespace weir {

template <class T>
inline T fromFloat(float x);

template <>
inline float fromFloat<float>(float x) {
  return x;
}

// To nearest, ties to even; NaN stays NaN.
template <>
inline bfloat16 fromFloat<bfloat16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

}  // namespace weir
