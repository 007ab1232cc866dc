// Owns arithmetic on vectors of floats of the machine's width (`Floats`): loads and stores of float and bfloat16, sums, e^x,
// by the compilers' own vector types; a kernel is written once for all of them. Register blocks of matrix products count in
// sixteen lanes, whatever the width: those are lanes.h, which stands on this.
// Invariants: not finite stays not finite; bfloat16 rounds to nearest, ties to even.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd/bfloat16.h"
#include "simd/powers.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace weir {

#if defined(__AVX512F__)
constexpr int kFloats = 16;
#elif defined(__AVX__)
constexpr int kFloats = 8;
#else
constexpr int kFloats = 4;
#endif

typedef float Floats __attribute__((vector_size(kFloats * 4)));
typedef int32_t Ints __attribute__((vector_size(kFloats * 4)));
typedef uint32_t Bits __attribute__((vector_size(kFloats * 4)));
typedef uint16_t Halves __attribute__((vector_size(kFloats * 2)));

inline Floats splat(float x) { return x - Floats{}; }

inline Floats widen(Halves h) { return (Floats)(__builtin_convertvector(h, Bits) << 16); }

// As roundBits does, in the lower half of each word.
WEIR_INLINE Bits roundedBits(Floats x) {
  // The integer rounding would make zeros of some NaNs, so NaNs are truncated instead.
  const Bits bits = (Bits)x, nan = (Bits)(x != x);
  const Bits up = bits + 0x7fffu + ((bits >> 16) & 1u);
  return ((nan & (bits | 0x400000u)) | (~nan & up)) >> 16;
}

inline Halves narrow(Floats x) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
  return __builtin_convertvector(roundedBits(x), Halves);
#endif
}

inline Floats load(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

inline Floats load(const bfloat16* from) {
  Halves h;
  std::memcpy(&h, from, sizeof h);
  return widen(h);
}

inline void store(float* to, Floats x) { std::memcpy(to, &x, sizeof x); }

inline void store(bfloat16* to, Floats x) {
  const Halves h = narrow(x);
  std::memcpy(to, &h, sizeof h);
}

// The first `count` lanes; the others are zero.
template <class T>
inline Floats loadPart(const T* from, int64_t count) {
  T lanes[kFloats] = {};
  std::memcpy(lanes, from, count * sizeof(T));
  return load(lanes);
}

template <class T>
inline void storePart(T* to, Floats x, int64_t count) {
  T lanes[kFloats];
  store(lanes, x);
  std::memcpy(to, lanes, count * sizeof(T));
}

// One vector of an array: a whole one, or what is left at its end.
struct Whole {
  template <class T>
  Floats get(const T* from) const {
    return load(from);
  }
  template <class T>
  void put(T* to, Floats x) const {
    store(to, x);
  }
  // The lanes in use unchanged, zero in the others.
  Floats masked(Floats x) const { return x; }
};
struct Part {
  int64_t count;
  template <class T>
  Floats get(const T* from) const {
    return loadPart(from, count);
  }
  template <class T>
  void put(T* to, Floats x) const {
    storePart(to, x, count);
  }
  Floats masked(Floats x) const {
    float lanes[kFloats];
    store(lanes, x);
    return loadPart(lanes, count);
  }
};

// Calls body(i, lanes) for the vectors of [0, n); `lanes` loads and stores at i.
template <class F>
inline void eachVector(int64_t n, F&& body) {
  int64_t i = 0;
  for (; i + kFloats <= n; i += kFloats) body(i, Whole{});
  if (i < n) body(i, Part{n - i});
}

// Σ of the lanes, by halves.
inline float sumLanes(Floats x) {
  float lanes[kFloats];
  store(lanes, x);
  for (int width = kFloats / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

inline Floats squareRoot(Floats x) {
  Floats root;
  for (int i = 0; i < kFloats; ++i) root[i] = __builtin_sqrtf(x[i]);
  return root;
}

// The larger and the smaller of two; b where one is NaN. The compiler does not always find the one instruction.
inline Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}
inline Floats smaller(Floats a, Floats b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Floats)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

inline float largestLane(Floats x) {
  float lanes[kFloats];
  store(lanes, x);
  for (int i = 1; i < kFloats; ++i) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
  return lanes[0];
}

// x within [low, high]; NaN passes.
inline Floats clamped(Floats x, float low, float high) { return smaller(splat(high), larger(splat(low), x)); }

// p·2ⁿ for whole n in [-160, 130], by two exact steps, so that the largest results and the step to infinity come out right.
inline Floats scaledByPower(Floats p, Floats n) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const Ints whole = __builtin_convertvector(p == p ? n : Floats{}, Ints);
  const Ints half = whole >> 1;
  const Floats first = (Floats)((half + 127) << 23);
  const Floats second = (Floats)((whole - half + 127) << 23);
  return p * first * second;
#endif
}

// e^x within 1.1 ulp: x = n·ln 2 + r, |r| ≤ ln 2 / 2, and a polynomial in r (Cephes).
inline Floats exponential(Floats x) {
  // Beyond these the result is infinity or zero anyway.
  x = clamped(x, -110.0f, 90.0f);
  const Floats n = (x * kLog2E + kRounder) - kRounder;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return scaledByPower(p, n);
}

// e^x for x ≤ 0 up to rounding, within 2 ulp and 1.4e-8·|x| of it; below 2e-38 it stays there, so it is for terms of sums with larger ones.
inline Floats smallExponential(Floats x) {
  x = larger(splat(kLeastExponent), x);
  const Floats rounded = x * kLog2E + kRounder;
  const Floats f = x * kLog2E + (kRounder - rounded);
  Floats y = splat(kPowerOfTwo[0]);
  for (int i = 1; i < 7; ++i) y = y * f + kPowerOfTwo[i];
  return y * (Floats)(((Ints)rounded << 23) + (127 << 23));
}

// 1 / (1 + e^-x).
inline Floats sigmoid(Floats x) {
#if defined(__AVX512F__)
  // An estimate and a Newton step, four times as fast as the division; e^88 is finite, and its reciprocal rounds to 0.
  const Floats d = exponential(clamped(-x, -110.0f, 88.0f)) + 1.0f;
  const Floats y = (Floats)_mm512_rcp14_ps((__m512)d);
  return y * (2.0f - d * y);
#else
  return 1.0f / (exponential(-x) + 1.0f);
#endif
}

}  // namespace weir
