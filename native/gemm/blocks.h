// Owns the walk of a large product over register blocks: rows of A against one panel of B. Where sums start from and go
// to is a "step": start(row, column, count) gives lanes, finish(row, column, lanes, count) takes them, and fetch(row, count)
// is told which rows come next.
#pragma once

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "gemm/gemm.h"
#include "attention/rows.h"

namespace weir {
namespace gemm {

/** Rows of C in one task at most: their part of A stays in the second-level cache together with a panel of B. */
constexpr int64_t kTaskRows = 96;
/** Words of the inner dimension that are summed at once: such a part of a panel is half a megabyte. */
constexpr int64_t kInnerWords = 2048;
/**
 * Words of the inner dimension at once where A is transposed, which is a weight's gradient and long: a tile's part of A
 * stays in the second-level cache while all of B's panels pass, and memory is packed just before it is read.
 */
#if defined(__AVX512F__)
constexpr int64_t kTransposedWords = 2048;
#else
constexpr int64_t kTransposedWords = 768;
#endif
/** Columns of C that all rows are taken through before the next ones: what they need of B stays in the last-level cache. */
constexpr int64_t kGroupColumns = 2048;

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

/** Rows [0, rows) of A against the first `columns` of a panel that is `width` wide, inner words [begin, end). */
template <class W, class Step>
void rowsOfPanel(const LeftSide<W>& a, int64_t rows, const W* panel, int64_t width, int64_t columns, int64_t begin,
                 int64_t end, const Step& step) {
  const W* const b = panel + begin * width;
  const int64_t k = end - begin;
  for (int64_t row = 0, high; row < rows; row += high) {
    high = a.striped ? std::min<int64_t>(kStripe, rows - row) : stripeRows(rows - row);
    const W* const left = a.data + row * a.words;
    step.fetch(row + high, std::min<int64_t>(kStripe, rows - row - high));
    const auto take = [&](auto fetch) {
      if (a.striped) {
        blockOfStripe<W, Side::kStriped>(high, left + begin * high, high, b, width, columns, k, fetch, step, row);
      } else {
        blockOfStripe<W, Side::kByRows>(high, left + begin, a.words, b, width, columns, k, fetch, step, row);
      }
    };
    // A narrow panel is in the second-level cache after the first stripe, and comes from there by itself.
    if (kMaxVectors == 1 && row > 0) {
      take(FetchNothing());
    } else {
      take(FetchOwn());
    }
  }
}

/**
 * Some dozen rows [0, rows) of A, row by row, against one whole panel of many that lie one after another, in stripes of
 * about equal height. The first stripe reads the panel from memory; each of the others also fetches its part of the next panel.
 */
template <class W, class Step>
void fewRowsOfPanel(const W* a, int64_t rows, int64_t words, const W* panel, int64_t columns, const Step& step) {
  constexpr int64_t kRowBytes = kPanel * int64_t(sizeof(W));
  const int64_t stripes = (rows + kStripe - 1) / kStripe, others = stripes - 1;
  const int64_t part = others == 0 ? 0 : words * kRowBytes / others;
  const char* next = reinterpret_cast<const char*>(panel + words * kPanel);
  for (int64_t i = 0, row = 0, high; i < stripes; ++i, row += high) {
    high = (rows - row) / (stripes - i);
    const W* const left = a + row * words;
    // A stripe fetches one line for each row of the panel: few stripes cannot fetch all of a wide one.
    if (row == 0 || others * kLineBytes < kRowBytes) {
      blockOfStripe<W, Side::kByRows>(high, left, words, panel, kPanel, columns, words, FetchOwn(), step, row);
    } else {
      const FetchNext fetch{next, part / words};
      blockOfStripe<W, Side::kByRows>(high, left, words, panel, kPanel, columns, words, fetch, step, row);
      next += part;
    }
  }
}

/** Inner words [0, words) in equal parts of `most` at most: body(begin, end). */
template <class F>
WEIR_INLINE void eachInnerPart(int64_t words, int64_t most, F&& body) {
  const int64_t parts = (words + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) body(words * part / parts, words * (part + 1) / parts);
}

/** Rows [first, first + count) of one task. */
struct Rows {
  int64_t first;
  int64_t count;
};

/** Rows of C in neighbouring panels. */
struct Tile {
  Rows rows;
  int64_t firstPanel;
  int64_t panels;
};

/**
 * All of C in tiles of kTaskRows rows at most, group of columns by group, from wide tiles to narrow ones, which even out
 * what the threads have done: those of leastColumns, about, are the last.
 */
inline std::vector<Tile> tilesOf(int64_t rows, int64_t columns, int64_t leastColumns) {
  const int64_t panels = (columns + kPanel - 1) / kPanel, groups = (columns + kGroupColumns - 1) / kGroupColumns;
  const int64_t chunks = (rows + kTaskRows - 1) / kTaskRows, high = roundUp((rows + chunks - 1) / chunks, kStripe);
  const int64_t least = std::max<int64_t>(1, leastColumns / kPanel), parts = 2 * threadCount();
  int64_t left = (rows + high - 1) / high * panels;
  std::vector<Tile> tiles;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t begin = panels * group / groups, end = panels * (group + 1) / groups;
    for (int64_t row = 0; row < rows; row += high) {
      for (int64_t panel = begin, count; panel < end; panel += count, left -= count) {
        count = std::min(std::max((left + parts - 1) / parts, least), end - panel);
        // A last tile that would be too narrow is joined to this one.
        if (end - panel - count < least / 2) count = end - panel;
        tiles.push_back({{row, std::min(high, rows - row)}, panel, count});
      }
    }
  }
  return tiles;
}

}  // namespace gemm
}  // namespace weir
