// Vectors of 16 float32 lanes: loads, arithmetic, exponentials and bfloat16 rounding, with AVX-512
// where the compiler may use it and GCC vectors elsewhere. All partial accesses name how many
// leading lanes count.
//
// A "word" is 32 bits along a product's inner dimension: one float, or two neighbouring bfloat16.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "attention.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

#define WEIR_INLINE inline __attribute__((always_inline))

namespace weir {
namespace attention {

constexpr int64_t kLanes = 16;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504088896341f;

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

WEIR_INLINE float toFloat(float x) { return x; }
WEIR_INLINE float toFloat(bfloat16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

/** Upper half of x, rounded to nearest even; NaN stays NaN. */
WEIR_INLINE uint16_t roundBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if defined(__AVX512F__)

using Lanes = __m512;

WEIR_INLINE __mmask16 firstLanes(int64_t n) { return n >= kLanes ? 0xffff : n <= 0 ? 0 : __mmask16((1u << n) - 1u); }
WEIR_INLINE Lanes splat(float x) { return _mm512_set1_ps(x); }
WEIR_INLINE Lanes load(const float* p) { return _mm512_loadu_ps(p); }
WEIR_INLINE Lanes load(const uint32_t* p) { return _mm512_loadu_ps(p); }
WEIR_INLINE Lanes load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
WEIR_INLINE void store(float* p, Lanes x) { _mm512_storeu_ps(p, x); }
WEIR_INLINE void store(float* p, Lanes x, int64_t n) { _mm512_mask_storeu_ps(p, firstLanes(n), x); }
WEIR_INLINE Lanes add(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
WEIR_INLINE Lanes sub(Lanes a, Lanes b) { return _mm512_sub_ps(a, b); }
WEIR_INLINE Lanes mul(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
/** a * b + c. */
WEIR_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
/** Larger of a and b; b where either is NaN. */
WEIR_INLINE Lanes larger(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }
/** The first n lanes of x, then those of fill. */
WEIR_INLINE Lanes keepFirst(Lanes x, int64_t n, Lanes fill) { return _mm512_mask_mov_ps(fill, firstLanes(n), x); }
WEIR_INLINE float sumOf(Lanes x) { return _mm512_reduce_add_ps(x); }
WEIR_INLINE float largestOf(Lanes x) { return _mm512_reduce_max_ps(x); }
WEIR_INLINE Lanes roundToInt(Lanes x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/** x * 2^n for whole n. */
WEIR_INLINE Lanes scaleByPower(Lanes x, Lanes n) { return _mm512_scalef_ps(x, n); }

WEIR_INLINE Lanes load(const bfloat16* p) {
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
  const __m512i kept = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
#endif
}
WEIR_INLINE void store(bfloat16* p, Lanes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), roundLanes(x)); }

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

#if defined(__AVX__)
constexpr int kPartLanes = 8;
#else
constexpr int kPartLanes = 4;
#endif
constexpr int kParts = int(kLanes) / kPartLanes;
typedef float FloatPart __attribute__((vector_size(kPartLanes * 4)));
typedef int32_t IntPart __attribute__((vector_size(kPartLanes * 4)));
typedef uint32_t WordPart __attribute__((vector_size(kPartLanes * 4)));
typedef uint16_t HalfPart __attribute__((vector_size(kPartLanes * 2)));

/** 16 lanes in native vectors. */
struct Lanes {
  FloatPart part[kParts];
};

/** A vector made part by part. */
template <class F>
WEIR_INLINE Lanes eachPart(F&& f) {
  Lanes y;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) y.part[i] = f(i);
  return y;
}

WEIR_INLINE Lanes splat(float x) {
  // x - 0 is x, for -0 too, so this is a plain broadcast.
  return eachPart([&](int) { return x - FloatPart{}; });
}
WEIR_INLINE Lanes load(const void* p) {
  return eachPart([&](int i) {
    FloatPart part;
    std::memcpy(&part, static_cast<const char*>(p) + i * int(sizeof part), sizeof part);
    return part;
  });
}
WEIR_INLINE Lanes load(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, size_t(n >= kLanes ? kLanes : n < 0 ? 0 : n) * 4);
  return load(static_cast<const void*>(lanes));
}
WEIR_INLINE void store(float* p, Lanes x) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) std::memcpy(p + i * kPartLanes, &x.part[i], sizeof x.part[i]);
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
  return eachPart([&](int i) { return a.part[i] > b.part[i] ? a.part[i] : b.part[i]; });
}
WEIR_INLINE Lanes keepFirst(Lanes x, int64_t n, Lanes fill) {
  const int32_t count = int32_t(n >= kLanes ? kLanes : n);
  return eachPart([&](int i) {
    IntPart lane;
#pragma GCC unroll 8
    for (int j = 0; j < kPartLanes; ++j) lane[j] = i * kPartLanes + j;
    return lane < count ? x.part[i] : fill.part[i];
  });
}
WEIR_INLINE float sumOf(Lanes x) {
  float lanes[kLanes], y = 0.0f;
  store(lanes, x);
  for (float lane : lanes) y += lane;
  return y;
}
WEIR_INLINE float largestOf(Lanes x) {
  float lanes[kLanes], y = -kInfinity;
  store(lanes, x);
  for (float lane : lanes) y = y > lane ? y : lane;
  return y;
}
WEIR_INLINE Lanes roundToInt(Lanes x) {
  // Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to nearest even; larger |x| does not reach here.
  const Lanes shift = splat(12582912.0f);
  return sub(add(x, shift), shift);
}
WEIR_INLINE Lanes scaleByPower(Lanes x, Lanes n) {
  // As other denormals, results below the normal numbers are zero; from 2^128 on they are infinite.
  return eachPart([&](int i) {
    IntPart power = __builtin_convertvector(n.part[i], IntPart) + 127;
    power = power > 0 ? power : IntPart{};
    power = power < 255 ? power : IntPart{} + 255;
    return x.part[i] * (FloatPart)(power << 23);
  });
}
WEIR_INLINE Lanes load(const bfloat16* p) {
  return eachPart([&](int i) {
    HalfPart half;
    std::memcpy(&half, p + i * kPartLanes, sizeof half);
    return (FloatPart)(__builtin_convertvector(half, WordPart) << 16);
  });
}

/** As roundBits does, in the lower half of each word. */
WEIR_INLINE WordPart roundPart(FloatPart x) {
  const WordPart bits = (WordPart)x, nan = (WordPart)(x != x);
  const WordPart up = bits + 0x7fffu + ((bits >> 16) & 1u);
  return ((nan & (bits | 0x400000u)) | (~nan & up)) >> 16;
}
WEIR_INLINE void store(bfloat16* p, Lanes x) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    const HalfPart half = __builtin_convertvector(roundPart(x.part[i]), HalfPart);
    std::memcpy(p + i * kPartLanes, &half, sizeof half);
  }
}
WEIR_INLINE void storePairs(uint32_t* p, Lanes low, Lanes high) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    const WordPart pair = roundPart(low.part[i]) | roundPart(high.part[i]) << 16;
    std::memcpy(p + i * kPartLanes, &pair, sizeof pair);
  }
}
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, float) { return fma(a, b, acc); }
WEIR_INLINE Lanes dot(Lanes acc, Lanes a, Lanes b, uint32_t) {
  return eachPart([&](int i) {
    const IntPart x = (IntPart)a.part[i], y = (IntPart)b.part[i], high = IntPart{} + int32_t(0xffff0000u);
    return acc.part[i] + (FloatPart)(x << 16) * (FloatPart)(y << 16) + (FloatPart)(x & high) * (FloatPart)(y & high);
  });
}
WEIR_INLINE Lanes splatWord(const float* p) { return splat(*p); }
WEIR_INLINE Lanes splatWord(const uint32_t* p) {
  float x;
  std::memcpy(&x, p, sizeof x);
  return splat(x);
}

#endif

/** The first n numbers at p as floats, then zeros. */
template <class T>
WEIR_INLINE Lanes loadNumbers(const T* p, int64_t n) {
  if (n >= kLanes) return load(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = toFloat(p[i]);
  return load(static_cast<const float*>(lanes));
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

/**
 * exp(s - m) for float results, at most 2 ulp off for s - m <= 0: with n = round((s - m) / ln 2) and
 * r = (s - m) - n ln 2, in two parts, e^r is its Taylor polynomial of degree 7 (remainder below 2^-26).
 */
WEIR_INLINE Lanes expOfDifference(Lanes s, Lanes m, float) {
  // Below -104 the float result is 0. The order of the arguments keeps NaN.
  const Lanes x = larger(splat(-104.0f), sub(s, m));
  const Lanes n = roundToInt(mul(x, splat(kLog2E)));
  Lanes r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Lanes y = splat(1.0f / 5040.0f);
  y = fma(y, r, splat(1.0f / 720.0f));
  y = fma(y, r, splat(1.0f / 120.0f));
  y = fma(y, r, splat(1.0f / 24.0f));
  y = fma(y, r, splat(1.0f / 6.0f));
  y = fma(y, r, splat(0.5f));
  y = fma(y, r, splat(1.0f));
  y = fma(y, r, splat(1.0f));
  return scaleByPower(y, n);
}

/**
 * exp(s - m) for results that are rounded to bfloat16 (relative step 2^-9): 2^y with
 * y = (s - m) log2 e and a minimax polynomial of degree 4 for 2^f, |f| <= 1/2 (relative error 3e-6).
 */
WEIR_INLINE Lanes expOfDifference(Lanes s, Lanes m, bfloat16) {
  const Lanes scaled = fma(s, splat(kLog2E), mul(m, splat(-kLog2E)));
  const Lanes x = larger(splat(-150.0f), scaled);
  const Lanes n = roundToInt(x);
  const Lanes f = sub(x, n);
  Lanes y = splat(9.5828527e-3f);
  y = fma(y, f, splat(5.5906425e-2f));
  y = fma(y, f, splat(2.4024099e-1f));
  y = fma(y, f, splat(6.9312419e-1f));
  y = fma(y, f, splat(1.0f));
  return scaleByPower(y, n);
}

}  // namespace attention
}  // namespace weir
