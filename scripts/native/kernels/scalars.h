// Owns single numbers of either storage type.
#pragma once

#include <cstdint>
#include <cstring>

#include "numbers.h"

namespace weir {

inline float toFloat(float x) { return x; }

inline float toFloat(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
inline T fromFloat(float x);

template <>
inline float fromFloat<float>(float x) {
  return x;
}

// To nearest, ties to even; NaN stays NaN.
template <>
inline Bf16 fromFloat<Bf16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

}  // namespace weir
