// Owns the packed layout of a product's right side, and the buffers it lives in.
//
// Panels hold a matrix B[rows, columns] of words, cut into panels of kPanel columns (the last may be
// narrower, a multiple of 16): panel p is contiguous, [rows][width(p)]. A row is one word of the
// inner dimension, so for bfloat16 it holds two neighbouring inner indices; what is beyond the
// matrix is zero.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/prefetch.h"
#include "simd/lanes.h"

namespace weir {
namespace gemm {

/** Vectors of a register block: with six rows, 24 of the 32 registers of AVX-512. */
#if defined(__AVX512F__)
constexpr int kMaxVectors = 4;
#else
// One vector of 16 lanes is two or four native ones; more would not fit the registers.
constexpr int kMaxVectors = 1;
#endif
/** Columns of a panel: those of a register block, so that it is read as it lies. */
constexpr int64_t kPanel = kMaxVectors * kLanes;

/** Memory that only grows, aligned to cache lines, never initialised. */
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  /** Room for count numbers of type T; what was there before is lost when it grows. */
  template <class T>
  T* take(int64_t count) {
    const int64_t wanted = count * int64_t(sizeof(T)) + 1;
    const int64_t bytes = roundUp(wanted, wanted < kHugePage / 4 ? 64 : kHugePage);
    if (bytes > bytes_) {
      release();
      data_ = std::aligned_alloc(size_t(bytes < kHugePage ? 64 : kHugePage), size_t(bytes));
      if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
      // A panel on small pages falls on the same places of the second-level cache as others do, by chance of addresses.
      if (bytes >= kHugePage) madvise(data_, size_t(bytes), MADV_HUGEPAGE);
#endif
      bytes_ = bytes;
    }
    return static_cast<T*>(data_);
  }

  /** Frees memory above the limit, so that one long call does not occupy it for ever. */
  void trim(int64_t limit) {
    if (bytes_ > limit) release();
  }

 private:
  static constexpr int64_t kHugePage = int64_t(2) << 20;

  void release() {
    std::free(data_);
    data_ = nullptr;
    bytes_ = 0;
  }
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

/** A packed matrix; W is the word. */
template <class W>
struct Panels {
  W* data;
  int64_t rows;
  int64_t columns;  // multiple of 16

  int64_t width(int64_t panel) const { return columns - panel * kPanel < kPanel ? columns - panel * kPanel : kPanel; }
  W* at(int64_t panel, int64_t row) const { return data + panel * kPanel * rows + row * width(panel); }
  int64_t size() const { return rows * columns; }
};

#if defined(__AVX__) && !defined(__AVX512F__)
/** to[c][r] = from[r][c] for r < 8, c < 8, where rows from the given number on are not read but zero. */
template <int rows>
WEIR_INLINE void transpose8(const float* from, int64_t fromStride, float* to, int64_t toStride) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = i < rows ? _mm256_loadu_ps(from + i * fromStride) : _mm256_setzero_ps();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    a[4 * i] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xee);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const __m256 column = i < 4 ? _mm256_permute2f128_ps(a[i], a[4 + i], 0x20)
                                : _mm256_permute2f128_ps(a[i - 4], a[i], 0x31);
    _mm256_storeu_ps(to + i * toStride, column);
  }
}
#endif

/** to[c][r] = from[r][c] for r < 16, c < 16, words; rows are fromStride and toStride words apart. */
template <class W>
WEIR_INLINE void transpose16(const W* from, int64_t fromStride, W* to, int64_t toStride) {
#if defined(__AVX512F__)
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * fromStride);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88);
    b[4 + i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
    b[8 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
    b[12 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    _mm512_storeu_si512(to + i * toStride, _mm512_shuffle_i32x4(b[i], b[8 + i], 0x88));
    _mm512_storeu_si512(to + (8 + i) * toStride, _mm512_shuffle_i32x4(b[i], b[8 + i], 0xdd));
  }
#elif defined(__AVX__)
  for (int quarter = 0; quarter < 4; ++quarter) {
    const int64_t down = quarter / 2 * 8, right = quarter % 2 * 8;
    transpose8<8>(reinterpret_cast<const float*>(from + down * fromStride + right), fromStride,
                  reinterpret_cast<float*>(to + right * toStride + down), toStride);
  }
#else
  for (int64_t c = 0; c < 16; ++c) {
    for (int64_t r = 0; r < 16; ++r) to[c * toStride + r] = from[r * fromStride + c];
  }
#endif
}

/**
 * Columns [begin, begin + count) of the transpose of from[keys, words]: key begin + i, of from's row i, is
 * a column, and a word of its depth is a row. begin is a multiple of kPanel; columns up to the next multiple
 * of 16 after count become zero. Bfloat16 numbers may be widened to words that are floats.
 */
template <class N, class W>
void packColumns(const N* from, int64_t words, int64_t begin, int64_t count, Panels<W> to) {
  constexpr bool widens = !std::is_same_v<N, W>;
  const auto wordOf = [](N x) -> W {
    if constexpr (widens) return toFloat(x);
    else return x;
  };
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t panel = (begin + i) / kPanel, width = to.width(panel);
    W* target = to.at(panel, 0) + (begin + i) % kPanel;
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    int64_t w = 0;
    if (n == kLanes) {
      for (; w + kLanes <= words; w += kLanes) {
        const N* const rows = from + i * words + w;
        if constexpr (widens) {
          float wide[kLanes * kLanes];
          for (int64_t r = 0; r < kLanes; ++r) store(wide + r * kLanes, loadLanes(rows + r * words));
          transpose16(wide, kLanes, target + w * width, width);
        } else {
          transpose16(rows, words, target + w * width, width);
        }
      }
    }
    for (; w < words; ++w) {
      for (int64_t r = 0; r < kLanes; ++r) target[w * width + r] = r < n ? wordOf(from[(i + r) * words + w]) : W(0);
    }
  }
}

/** packColumns of from[keys, depth], in the words that its numbers are multiplied as. */
template <class T>
void packTransposed(const T* from, int64_t depth, int64_t begin, int64_t count, Panels<FactorWord<T>> to) {
  if constexpr (kWidens<T>) {
    packColumns(from, depth, begin, count, to);
  } else {
    packColumns(reinterpret_cast<const Word<T>*>(from), depth / WordOf<T>::kNumbers, begin, count, to);
  }
}

/**
 * Rows of the words of from[count, depth] put together along its first index, from row first on. For
 * float panels a packed row is a row of from; for those of bfloat16 it is two, the last one filled up with zeros.
 */
template <class T>
void packRows(const T* from, int64_t depth, int64_t first, int64_t count, Panels<float> to) {
  // Rows at once: so few are read in step from memory, and each panel gets some lines in a row.
  constexpr int64_t kDeep = 8;
  for (int64_t top = 0; top < count; top += kDeep) {
    const int64_t bottom = std::min(count, top + kDeep);
    for (int64_t panel = 0; panel * kPanel < to.columns; ++panel) {
      const int64_t width = to.width(panel);
      for (int64_t r = top; r < bottom; ++r) {
        float* const target = to.at(panel, first + r);
        const T* const source = from + r * depth + panel * kPanel;
        for (int64_t c = 0; c < width; c += kLanes) {
          store(target + c, loadNumbers(source + c, depth - panel * kPanel - c));
        }
      }
    }
  }
}
inline void packRows(const bfloat16* from, int64_t depth, int64_t first, int64_t count, Panels<uint32_t> to) {
  for (int64_t panel = 0; panel * kPanel < to.columns; ++panel) {
    const int64_t width = to.width(panel), start = panel * kPanel;
    for (int64_t r = 0; r < count; r += 2) {
      uint32_t* target = to.at(panel, first + r / 2);
      const bfloat16* low = from + r * depth + start;
      const bfloat16* high = low + depth;
      const int64_t real = depth - start < width ? depth - start : width;
      if (r + 1 < count) {
        for (int64_t c = 0; c < real; ++c) target[c] = uint32_t(low[c].bits) | uint32_t(high[c].bits) << 16;
      } else {
        for (int64_t c = 0; c < real; ++c) target[c] = low[c].bits;
      }
      for (int64_t c = real; c < width; ++c) target[c] = 0;
    }
  }
}

}  // namespace gemm
}  // namespace weir
