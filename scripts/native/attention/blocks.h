// Owns the walk of a large product over register blocks: rows of A against one panel of B. Where sums start from and go
// to is a "step": start(row, column, count) gives lanes, finish(row, column, lanes, count) takes them.
#pragma once

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "rows.h"

namespace weir {
namespace attention {

/** Rows of C in one task at most: their part of A stays in the second-level cache beside a panel of B. */
constexpr int64_t kTaskRows = 96;
/** Words of the inner dimension that are summed at once: such a part of a panel is half a megabyte. */
constexpr int64_t kInnerWords = 2048;

template <class W, Side side, int MR, int NV, class Fetch, class Step>
void block(const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t k, Fetch fetch, const Step& step,
           int64_t row, int64_t tail) {
  Lanes sum[MR][NV];
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[r][v] = step.start(row + r, v * kLanes, v < NV - 1 ? kLanes : tail);
  }
  sumBlock<W, side, MR, NV>(a, aStride, b, bStride, k, fetch, sum);
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) step.finish(row + r, v * kLanes, sum[r][v], v < NV - 1 ? kLanes : tail);
  }
}

/** MR rows against the first `columns` of one panel. */
template <class W, Side side, int MR, class Fetch, class Step>
void blockOfRows(const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t columns, int64_t k, Fetch fetch,
                 const Step& step, int64_t row) {
  const int64_t vectors = (columns + kLanes - 1) / kLanes, tail = columns - (vectors - 1) * kLanes;
  switch (vectors) {
    case 1: return block<W, side, MR, 1>(a, aStride, b, bStride, k, fetch, step, row, tail);
#if defined(__AVX512F__)
    case 2: return block<W, side, MR, 2>(a, aStride, b, bStride, k, fetch, step, row, tail);
    case 3: return block<W, side, MR, 3>(a, aStride, b, bStride, k, fetch, step, row, tail);
    default: return block<W, side, MR, 4>(a, aStride, b, bStride, k, fetch, step, row, tail);
#endif
  }
}

template <class W, Side side, class Fetch, class Step>
void blockOfStripe(int64_t rows, const W* a, int64_t aStride, const W* b, int64_t bStride, int64_t columns, int64_t k,
                   Fetch fetch, const Step& step, int64_t row) {
  switch (rows) {
    case 1: return blockOfRows<W, side, 1>(a, aStride, b, bStride, columns, k, fetch, step, row);
    case 2: return blockOfRows<W, side, 2>(a, aStride, b, bStride, columns, k, fetch, step, row);
    case 3: return blockOfRows<W, side, 3>(a, aStride, b, bStride, columns, k, fetch, step, row);
    case 4: return blockOfRows<W, side, 4>(a, aStride, b, bStride, columns, k, fetch, step, row);
    case 5: return blockOfRows<W, side, 5>(a, aStride, b, bStride, columns, k, fetch, step, row);
    default: return blockOfRows<W, side, kStripe>(a, aStride, b, bStride, columns, k, fetch, step, row);
  }
}

/** Rows of A as words: row by row, or in stripes of kStripe rows that lie word by word. */
template <class W>
struct LeftSide {
  const W* data;
  int64_t words;
  bool striped;
};

/** Calls body(first, count) for the stripes of [0, rows). */
template <class F>
WEIR_INLINE void eachStripe(int64_t rows, bool striped, F&& body) {
  for (int64_t first = 0, count; first < rows; first += count) {
    count = striped ? std::min<int64_t>(kStripe, rows - first) : stripeRows(rows - first);
    body(first, count);
  }
}

/** Rows [0, rows) of A against the first `columns` of a panel that is `width` wide, inner words [begin, end). */
template <class W, class Step>
void rowsOfPanel(const LeftSide<W>& a, int64_t rows, const W* panel, int64_t width, int64_t columns, int64_t begin,
                 int64_t end, const Step& step) {
  const W* const b = panel + begin * width;
  const int64_t k = end - begin;
  const FetchOwn own;
  eachStripe(rows, a.striped, [&](int64_t row, int64_t high) {
    const W* const left = a.data + row * a.words;
    if (a.striped) {
      blockOfStripe<W, Side::kByColumns>(high, left + begin * high, high, b, width, columns, k, own, step, row);
    } else {
      blockOfStripe<W, Side::kByRows>(high, left + begin, a.words, b, width, columns, k, own, step, row);
    }
  });
}

/**
 * Some dozen rows [0, rows) of A, row by row, against one whole panel of many that lie one after another. The first stripe
 * reads the panel for the first time; the others fetch the next panel meanwhile, each its share.
 */
template <class W, class Step>
void fewRowsOfPanel(const W* a, int64_t rows, int64_t words, const W* panel, int64_t columns, const Step& step) {
  constexpr int64_t kLine = 64, kRowBytes = kPanel * int64_t(sizeof(W));
  const int64_t others = (rows - 1) / kStripe, share = others == 0 ? 0 : words * kRowBytes / others;
  const char* next = reinterpret_cast<const char*>(panel + words * kPanel);
  eachStripe(rows, false, [&](int64_t row, int64_t high) {
    const W* const left = a + row * words;
    // A stripe fetches one line for each row of the panel: few stripes do not get through a wide one.
    if (row == 0 || others * kLine < kRowBytes) {
      blockOfStripe<W, Side::kByRows>(high, left, words, panel, kPanel, columns, words, FetchOwn(), step, row);
    } else {
      const FetchNext fetch{next, share / words};
      blockOfStripe<W, Side::kByRows>(high, left, words, panel, kPanel, columns, words, fetch, step, row);
      next += share;
    }
  });
}

/** Inner words [0, words) in equal parts of kInnerWords at most: body(begin, end). */
template <class F>
WEIR_INLINE void eachInnerPart(int64_t words, F&& body) {
  const int64_t parts = (words + kInnerWords - 1) / kInnerWords;
  for (int64_t part = 0; part < parts; ++part) body(words * part / parts, words * (part + 1) / parts);
}

/** Rows [first, first + count) of one task. */
struct Rows {
  int64_t first;
  int64_t count;
};

/** All rows, in whole stripes, from large tasks to small ones, which even out what the threads have done. */
inline std::vector<Rows> tasksOf(int64_t rows) {
  constexpr int64_t kLeastRows = 2 * kStripe;
  std::vector<Rows> tasks;
  for (int64_t first = 0; first < rows;) {
    const int64_t share = roundUp((rows - first) / (2 * threadCount()), kStripe);
    const int64_t count = std::min(rows - first, std::clamp(share, kLeastRows, kTaskRows));
    tasks.push_back({first, count});
    first += count;
  }
  return tasks;
}

}  // namespace attention
}  // namespace weir
