// Vectors of 16 float32 lanes (`Lanes`), in which register blocks of matrix products count: with AVX-512 one register, else
// two or four of the machine's vectors (floats.h). All partial accesses name how many leading lanes count.
//
// A "word" is 32 bits along a product's inner dimension: one float, or two neighbouring bfloat16.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "simd/bfloat16.h"
#include "simd/floats.h"
#include "simd/powers.h"

namespace weir {

constexpr int64_t kLanes = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/** n rounded up to a multiple of step. */
constexpr int64_t roundUp(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/** Numbers of type T in one word, and the type words are moved as. */
template <class T>
struct WordOf;
template <>
struct WordOf<float> {
  using Type = float;
  static constexpr int64_t kNumbers = 1;
};
template <>
struct WordOf<bfloat16> {
  using Type = uint32_t;
  static constexpr int64_t kNumbers = 2;
};
template <class T>
using Word = typename WordOf<T>::Type;

/** What numbers are multiplied as: bfloat16 as it is where the processor multiplies it, else widened to float. */
#if defined(__AVX512BF16__)
template <class T>
using Factor = T;
#else
template <class>
using Factor = float;
#endif
template <class T>
using FactorWord = Word<Factor<T>>;
/** Numbers of type T in a word that is multiplied. */
template <class T>
constexpr int64_t kNumbersOf = WordOf<Factor<T>>::kNumbers;
template <class T>
constexpr bool kWidens = !std::is_same_v<T, Factor<T>>;

#if defined(__AVX512F__)

using Lanes = Floats;

WEIR_INLINE __mmask16 firstLanes(int64_t n) { return n >= kLanes ? 0xffff : n <= 0 ? 0 : __mmask16((1u << n) - 1u); }
WEIR_INLINE Lanes splatLanes(float x) { return _mm512_set1_ps(x); }
WEIR_INLINE Lanes loadLanes(const float* p) { return _mm512_loadu_ps(p); }
WEIR_INLINE Lanes loadLanes(const uint32_t* p) { return _mm512_loadu_ps(p); }
WEIR_INLINE Lanes loadLanes(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
WEIR_INLINE void store(float* p, Lanes x, int64_t n) { _mm512_mask_storeu_ps(p, firstLanes(n), x); }
WEIR_INLINE Lanes add(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
WEIR_INLINE Lanes sub(Lanes a, Lanes b) { return _mm512_sub_ps(a, b); }
WEIR_INLINE Lanes mul(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
/** a * b + c. */
WEIR_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
/** The first n lanes of x, then those of fill. */
WEIR_INLINE Lanes keepFirst(Lanes x, int64_t n, Lanes fill) { return _mm512_mask_mov_ps(fill, firstLanes(n), x); }
WEIR_INLINE float sumOf(Lanes x) { return _mm512_reduce_add_ps(x); }
WEIR_INLINE float largestOf(Lanes x) { return _mm512_reduce_max_ps(x); }
/** y * 2^n, where n + kRounder is given and -127 < n < 128. */
WEIR_INLINE Lanes scaleByPower(Lanes y, Lanes rounded) {
  const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(rounded), 23);
  return _mm512_mul_ps(y, _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_set1_epi32(127 << 23))));
}

WEIR_INLINE Lanes loadLanes(const bfloat16* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/** Bits of the lanes rounded to bfloat16. */
WEIR_INLINE __m256i roundLanes(Lanes x) {
#if defined(__AVX512BF16__)
  return (__m256i)_mm512_cvtneps_pbh(x);
#else
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i words = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16));
#endif
}

/** Word j = (bfloat16 low[j], bfloat16 high[j]). */
WEIR_INLINE void storePairs(uint32_t* p, Lanes low, Lanes high) {
#if defined(__AVX512BF16__) && defined(__AVX512BW__)
  // Half a register of low, then of high; word j takes number j of each.
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
  const __m512i word = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i order = _mm512_or_si512(word, _mm512_slli_epi32(_mm512_add_epi32(word, _mm512_set1_epi32(16)), 16));
  _mm512_storeu_si512(p, _mm512_permutexvar_epi16(order, both));
#else
  const __m512i a = _mm512_cvtepu16_epi32(roundLanes(low));
  const __m512i b = _mm512_cvtepu16_epi32(roundLanes(high));
  _mm512_storeu_si512(p, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
#endif
}

/** acc[j] + a[j] * b[j], a word of either type on each side. */
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, float) { return _mm512_fmadd_ps(a, b, acc); }
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, uint32_t) {
#if defined(__AVX512BF16__)
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
  const __m512i high = _mm512_set1_epi32(int(0xffff0000u)), x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
  acc = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                        _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), acc);
  return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, high)),
                         _mm512_castsi512_ps(_mm512_and_si512(y, high)), acc);
#endif
}
WEIR_INLINE Lanes splatWord(const float* p) { return _mm512_set1_ps(*p); }
WEIR_INLINE Lanes splatWord(const uint32_t* p) {
  // The word may have been written as two numbers.
  int word;
  std::memcpy(&word, p, sizeof word);
  return _mm512_castsi512_ps(_mm512_set1_epi32(word));
}

#else

constexpr int kParts = int(kLanes) / kFloats;

/** 16 lanes in native vectors. */
struct Lanes {
  Floats part[kParts];
};

/** A vector made part by part. */
template <class F>
WEIR_INLINE Lanes eachPart(F&& f) {
  Lanes y;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) y.part[i] = f(i);
  return y;
}

WEIR_INLINE Lanes splatLanes(float x) {
  return eachPart([&](int) { return splat(x); });
}
WEIR_INLINE Lanes loadLanes(const void* p) {
  return eachPart([&](int i) {
    Floats part;
    std::memcpy(&part, static_cast<const char*>(p) + i * int(sizeof part), sizeof part);
    return part;
  });
}
WEIR_INLINE Lanes loadLanes(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, size_t(n >= kLanes ? kLanes : n < 0 ? 0 : n) * 4);
  return loadLanes(static_cast<const void*>(lanes));
}
WEIR_INLINE void store(float* p, Lanes x) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) std::memcpy(p + i * kFloats, &x.part[i], sizeof x.part[i]);
}
WEIR_INLINE void store(float* p, Lanes x, int64_t n) {
  float lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, size_t(n >= kLanes ? kLanes : n < 0 ? 0 : n) * 4);
}
WEIR_INLINE Lanes add(Lanes a, Lanes b) {
  return eachPart([&](int i) { return a.part[i] + b.part[i]; });
}
WEIR_INLINE Lanes sub(Lanes a, Lanes b) {
  return eachPart([&](int i) { return a.part[i] - b.part[i]; });
}
WEIR_INLINE Lanes mul(Lanes a, Lanes b) {
  return eachPart([&](int i) { return a.part[i] * b.part[i]; });
}
WEIR_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
  return eachPart([&](int i) { return a.part[i] * b.part[i] + c.part[i]; });
}
WEIR_INLINE Lanes larger(Lanes a, Lanes b) {
  return eachPart([&](int i) { return larger(a.part[i], b.part[i]); });
}
WEIR_INLINE Lanes keepFirst(Lanes x, int64_t n, Lanes fill) {
  const int32_t count = int32_t(n >= kLanes ? kLanes : n);
  return eachPart([&](int i) {
    Ints lane;
#pragma GCC unroll 8
    for (int j = 0; j < kFloats; ++j) lane[j] = i * kFloats + j;
    return lane < count ? x.part[i] : fill.part[i];
  });
}
/** All lanes put together by f(a, b), in halves. */
template <class F>
WEIR_INLINE float foldLanes(Lanes x, F&& f) {
#if defined(__AVX__)
  const __m256 whole = (__m256)f(x.part[0], x.part[1]);
  __m128 half = f(_mm256_castps256_ps128(whole), _mm256_extractf128_ps(whole, 1));
  half = f(half, _mm_movehl_ps(half, half));
  return f(half, _mm_movehdup_ps(half))[0];
#else
  float lanes[kLanes];
  store(lanes, x);
  for (int64_t i = kLanes / 2; i > 0; i /= 2) {
    for (int64_t j = 0; j < i; ++j) lanes[j] = f(lanes[j], lanes[j + i]);
  }
  return lanes[0];
#endif
}
WEIR_INLINE float sumOf(Lanes x) {
  return foldLanes(x, [](auto a, auto b) { return a + b; });
}
WEIR_INLINE float largestOf(Lanes x) {
  return foldLanes(x, [](auto a, auto b) { return a > b ? a : b; });
}
WEIR_INLINE Lanes scaleByPower(Lanes y, Lanes rounded) {
  return eachPart([&](int i) {
    const Ints power = ((Ints)rounded.part[i] << 23) + (127 << 23);
    return y.part[i] * (Floats)power;
  });
}
WEIR_INLINE Lanes loadLanes(const bfloat16* p) {
  return eachPart([&](int i) {
    Halves half;
    std::memcpy(&half, p + i * kFloats, sizeof half);
    return widen(half);
  });
}

WEIR_INLINE void store(bfloat16* p, Lanes x) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    store(p + i * kFloats, x.part[i]);
  }
}
WEIR_INLINE void storePairs(uint32_t* p, Lanes low, Lanes high) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    const Bits pair = roundedBits(low.part[i]) | roundedBits(high.part[i]) << 16;
    std::memcpy(p + i * kFloats, &pair, sizeof pair);
  }
}
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, float) { return fma(a, b, acc); }
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, uint32_t) {
  return eachPart([&](int i) {
    const Ints x = (Ints)a.part[i], y = (Ints)b.part[i], high = Ints{} + int32_t(0xffff0000u);
    return acc.part[i] + (Floats)(x << 16) * (Floats)(y << 16) + (Floats)(x & high) * (Floats)(y & high);
  });
}
WEIR_INLINE Lanes splatWord(const float* p) { return splatLanes(*p); }
WEIR_INLINE Lanes splatWord(const uint32_t* p) {
  float x;
  std::memcpy(&x, p, sizeof x);
  return splatLanes(x);
}

#endif

/** The first n numbers at p as floats, then zeros. */
template <class T>
WEIR_INLINE Lanes loadNumbers(const T* p, int64_t n) {
  if (n >= kLanes) return loadLanes(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = toFloat(p[i]);
  return loadLanes(static_cast<const float*>(lanes));
}

/** The first n lanes to p, rounded to its type. */
WEIR_INLINE void storeNumbers(float* p, Lanes x, int64_t n) { n >= kLanes ? store(p, x) : store(p, x, n); }
WEIR_INLINE void storeNumbers(bfloat16* p, Lanes x, int64_t n) {
  if (n >= kLanes) return store(p, x);
  bfloat16 lanes[kLanes];
  store(lanes, x);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

/** `count` numbers as they are multiplied: where they lie, or widened into room. */
template <class T>
WEIR_INLINE const Factor<T>* factors(const T* from, int64_t count, Factor<T>* room) {
  if constexpr (kWidens<T>) {
    for (int64_t i = 0; i < count; ++i) room[i] = toFloat(from[i]);
    return room;
  } else {
    return from;
  }
}

/** 2^f for |f| <= 1/2, for float results; for those rounded to bfloat16 a shorter polynomial, off by 3e-6. */
WEIR_INLINE Lanes powerOfTwo(Lanes f, float) {
  Lanes y = splatLanes(kPowerOfTwo[0]);
#pragma GCC unroll 6
  for (int i = 1; i < 7; ++i) y = fma(y, f, splatLanes(kPowerOfTwo[i]));
  return y;
}
WEIR_INLINE Lanes powerOfTwo(Lanes f, bfloat16) {
  Lanes y = splatLanes(9.5828527e-3f);
  y = fma(y, f, splatLanes(5.5906425e-2f));
  y = fma(y, f, splatLanes(2.4024099e-1f));
  y = fma(y, f, splatLanes(6.9312419e-1f));
  return fma(y, f, splatLanes(1.0f));
}

/**
 * exp(s - m) for results of type T, s - m <= 0 up to rounding: 2^(n + f) with a whole n and |f| <= 1/2. Float results are
 * at most 2 ulp and 1.4e-8·|s - m| of themselves off; below 2e-38 they stay there.
 */
template <class T>
WEIR_INLINE Lanes expOfDifference(Lanes s, Lanes m, T) {
  const Lanes log2e = splatLanes(kLog2E), rounder = splatLanes(kRounder);
  // The order of the arguments keeps NaN.
  const Lanes x = larger(splatLanes(kLeastExponent), sub(s, m));
  const Lanes rounded = fma(x, log2e, rounder);
  const Lanes f = fma(x, log2e, sub(rounder, rounded));
  return scaleByPower(powerOfTwo(f, T()), rounded);
}

}  // namespace weir
