// Owns the micro-kernels of the attention products: C[m, n] (+)= sum_k A[m, k] . B[k, n] over words,
// A read where it lies (along rows or along columns), B packed in panels (packing.h), C float32.
//
// A register block is up to 6 rows by 4 vectors; the sum over k of one C entry runs in order of k in
// one accumulator, so a result does not depend on how rows are distributed.
#pragma once

#include <type_traits>

#include "gemm/packing.h"

namespace weir {
namespace gemm {

/** Rows of a register block. */
constexpr int kStripe = 6;

/**
 * Where a left side A lies: word (m, k) at data[m * stride + k], or data[k * stride + m] if kByColumns; kStriped is that
 * with the block's own height as its stride.
 */
enum class Side { kByRows, kByColumns, kStriped };

/** Steps of the inner dimension per loop iteration: a narrow block has few products to hide the loop's own work. */
constexpr int kUnrolled = kMaxVectors == 1 ? 4 : 1;
/** The same where a step finds its part of A in one place. */
constexpr int kUnrolledStriped = kMaxVectors == 1 ? 8 : 1;

/** Rows of a panel between the one that is read and the one that is fetched ahead: a few kilobytes. */
#if defined(__AVX512F__)
constexpr int64_t kAhead = 20;
#else
constexpr int64_t kAhead = 40;
#endif

/** Fetches the panel that is read, kAhead rows before. */
struct FetchOwn {
  template <int NV, class W>
  WEIR_INLINE void row(const W* b, int64_t bStride) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) __builtin_prefetch(b + kAhead * bStride + v * kLanes);
  }
};

/** Fetches nothing: the panel is in a near cache already. */
struct FetchNothing {
  template <int NV, class W>
  WEIR_INLINE void row(const W*, int64_t) {}
};

/** Fetches what is read later to the second-level cache, a line for each row of the panel, `step` bytes apart. */
struct FetchNext {
  const char* at;
  int64_t step;

  template <int NV, class W>
  WEIR_INLINE void row([[maybe_unused]] const W* b, [[maybe_unused]] int64_t bStride) {
#if defined(__AVX512F__)
    // A panel of four vectors does not stay in the first-level cache.
    FetchOwn().row<NV>(b, bStride);
#endif
    __builtin_prefetch(at, 0, 2);
    at += step;
  }
};

/** sum[r][v] += the products of MR words of A and NV vectors of a panel's row; goes on to the next of both. */
template <class W, Side side, int MR, int NV, class Fetch>
WEIR_INLINE void sumStep(const W*& a, int64_t aStride, const W*& b, int64_t bStride, Fetch& fetch,
                         Lanes (&sum)[MR][NV]) {
  Lanes right[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) right[v] = loadLanes(b + v * kLanes);
  fetch.template row<NV>(b, bStride);
  b += bStride;
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
    const Lanes left = splatWord(side == Side::kByRows ? a + r * aStride : a + r);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[r][v] = dot(sum[r][v], left, right[v], W());
  }
  a += side == Side::kByRows ? 1 : aStride;
}

/** sum[r][v] += the products of MR rows of A and NV vectors of a panel, k words deep. */
template <class W, Side side, int MR, int NV, class Fetch>
WEIR_INLINE void sumBlock(const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t k, Fetch fetch,
                          Lanes (&sum)[MR][NV]) {
  if (kMaxVectors == 1) bStride = kLanes;
  if (side == Side::kStriped) {
#pragma GCC unroll kUnrolledStriped
    for (int64_t i = 0; i < k; ++i) sumStep<W, side>(a, MR, b, bStride, fetch, sum);
  } else {
#pragma GCC unroll kUnrolled
    for (int64_t i = 0; i < k; ++i) sumStep<W, side>(a, aStride, b, bStride, fetch, sum);
  }
}

/**
 * One register block: MR rows, NV vectors of columns, k words deep. The last vector has tail columns
 * (16 when whole). With accumulate the sum starts from c.
 */
template <class W, Side side, int MR, int NV>
void multiplyBlock(const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t k, float* c, int64_t cStride,
                   int64_t tail, bool accumulate) {
  Lanes sum[MR][NV];
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const float* from = c + r * cStride + v * kLanes;
      sum[r][v] = !accumulate ? splatLanes(0.0f) : v < NV - 1 || tail == kLanes ? loadLanes(from) : loadLanes(from, tail);
    }
  }
  sumBlock<W, side, MR, NV>(a, aStride, b, bStride, k, FetchOwn(), sum);
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      float* to = c + r * cStride + v * kLanes;
      if (v < NV - 1 || tail == kLanes) {
        store(to, sum[r][v]);
      } else {
        store(to, sum[r][v], tail);
      }
    }
  }
}

template <class W, Side side, int MR>
WEIR_INLINE void multiplyRows(int64_t vectors, const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t k,
                              float* c, int64_t cStride, int64_t tail, bool accumulate) {
  switch (vectors) {
    case 1: return multiplyBlock<W, side, MR, 1>(a, aStride, b, bStride, k, c, cStride, tail, accumulate);
#if defined(__AVX512F__)
    case 2: return multiplyBlock<W, side, MR, 2>(a, aStride, b, bStride, k, c, cStride, tail, accumulate);
    case 3: return multiplyBlock<W, side, MR, 3>(a, aStride, b, bStride, k, c, cStride, tail, accumulate);
    case 4: return multiplyBlock<W, side, MR, 4>(a, aStride, b, bStride, k, c, cStride, tail, accumulate);
#endif
    default: return;
  }
}

/** Part of a stripe that counts: inner words [kBegin, kEnd) and the first columns. */
struct Bounds {
  int64_t kBegin;
  int64_t kEnd;
  int64_t columns;
};

/** Rows of the next stripe of the rest: never so few that the multipliers would wait. */
WEIR_INLINE int64_t stripeRows(int64_t rest) {
  return rest <= kStripe ? rest : rest < 2 * kStripe ? (rest + 1) / 2 : kStripe;
}

/** Asks for rows [first, last) of a panel of C. */
WEIR_INLINE void fetchRows(const float* c, int64_t cStride, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) fetchLines<Use::kWrite>(c + row * cStride, kPanel);
}

/**
 * C[rows, columns] (+)= A . B, by panels and stripes of rows. Word (m, k) of A meets row kFirst + k of
 * the panels, column 0 of C is column nFirst (a multiple of kPanel) of them.
 *
 * bounds(first, count) -> Bounds narrows the stripe [first, first + count): what it leaves out is
 * neither read nor written. Columns are rounded up to 16 where C has room for them (padded).
 */
template <Side side, class W, class F>
WEIR_INLINE void multiply(const W* a, int64_t aStride, int64_t rows, Panels<W> b, int64_t kFirst, int64_t nFirst,
                          float* c, int64_t cStride, bool padded, bool accumulate, F&& bounds, int64_t columns) {
  for (int64_t n = 0; n < columns; n += kPanel) {
    const int64_t panel = (nFirst + n) / kPanel, bStride = b.width(panel);
    const W* right = b.at(panel, kFirst);
    for (int64_t first = 0, count; first < rows; first += count) {
      count = stripeRows(rows - first);
      const Bounds part = bounds(first, count);
      const int64_t rest = part.columns - n, wide = rest < kPanel ? rest : kPanel;
      const int64_t k = part.kEnd - part.kBegin;
      if (wide <= 0 || k <= 0) continue;
      const int64_t vectors = (wide + kLanes - 1) / kLanes;
      const int64_t tail = padded ? kLanes : wide - (vectors - 1) * kLanes;
      const W* left = side == Side::kByRows ? a + first * aStride + part.kBegin : a + part.kBegin * aStride + first;
      const W* from = right + part.kBegin * bStride;
      float* to = c + first * cStride + n;
      // Such sums go to rows that every block of queries adds to; the next ones are fetched meanwhile.
      if (side == Side::kByColumns) fetchRows(c + n, cStride, first + count, std::min(rows, first + count + kStripe));
      const auto run = [&](auto height) {
        multiplyRows<W, side, decltype(height)::value>(vectors, left, aStride, from, bStride, k, to, cStride, tail,
                                                       accumulate);
      };
      switch (count) {
        case 1: run(std::integral_constant<int, 1>()); break;
        case 2: run(std::integral_constant<int, 2>()); break;
        case 3: run(std::integral_constant<int, 3>()); break;
        case 4: run(std::integral_constant<int, 4>()); break;
        case 5: run(std::integral_constant<int, 5>()); break;
        default: run(std::integral_constant<int, kStripe>());
      }
    }
  }
}

}  // namespace gemm
}  // namespace weir
