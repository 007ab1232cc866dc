#include "gemm/product.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "gemm/blocks.h"

namespace weir {
namespace gemm {
namespace {

/** Memory that a thread reuses from one call to the next. */
constexpr int64_t kKeptBytes = int64_t(64) << 20;

/** A sum that starts from `from` (null: zero) and goes to `to`. */
template <class S>
struct Step {
  const float* from;
  int64_t fromStride;
  S* to;
  int64_t toStride;

  WEIR_INLINE Lanes start(int64_t row, int64_t column, int64_t count) const {
    if (from == nullptr) return splatLanes(0.0f);
    const float* const at = from + row * fromStride + column;
    return count == kLanes ? loadLanes(at) : loadLanes(at, count);
  }
  WEIR_INLINE void finish(int64_t row, int64_t column, Lanes sum, int64_t count) const {
    storeNumbers(to + row * toStride + column, sum, count);
  }
  WEIR_INLINE void fetch(int64_t first, int64_t count) const {
    for (int64_t row = first; row < first + count; ++row) {
      fetchLines<Use::kWrite>(to + row * toStride, kPanel);
      if (from == nullptr || static_cast<const void*>(from) == to) continue;
      fetchLines<Use::kRead>(from + row * fromStride, kPanel);
    }
  }
};

/** C of one call and what its sums start from. */
template <class W, class S>
struct Target {
  Panels<W> panels;
  int64_t columns;
  const float* plus;
  S* c;
};

/** Rows of C in one panel, the inner words in parts. */
template <class W, class S>
void tileOfPanel(const LeftSide<W>& a, Rows rows, int64_t panel, const Target<W, S>& target) {
  const int64_t column = panel * kPanel, columns = target.columns, wide = std::min(kPanel, columns - column);
  const W* const right = target.panels.at(panel, 0);
  const int64_t width = target.panels.width(panel);
  const float* const plus = target.plus == nullptr ? nullptr : target.plus + rows.first * columns + column;
  float partial[kTaskRows * kPanel];
  eachInnerPart(a.words, kInnerWords, [&](int64_t begin, int64_t end) {
    const float* const from = begin == 0 ? plus : partial;
    const int64_t stride = begin == 0 ? columns : kPanel;
    if (end == a.words) {
      const Step<S> step{from, stride, target.c + rows.first * columns + column, columns};
      rowsOfPanel(a, rows.count, right, width, wide, begin, end, step);
    } else {
      rowsOfPanel(a, rows.count, right, width, wide, begin, end, Step<float>{from, stride, partial, kPanel});
    }
  });
}

/** One tile of C, by the rows of A that it needs. */
template <class W, class S>
void computeTile(const LeftSide<W>& a, const Tile& tile, const Target<W, S>& target) {
  for (int64_t p = 0; p < tile.panels; ++p) tileOfPanel(a, tile.rows, tile.firstPanel + p, target);
}

/** Numbers of two rows put together as words; of one, where there is no second. */
template <class T>
WEIR_INLINE void copyWords(const T* from, const T*, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = toFloat(from[i]);
}
WEIR_INLINE void copyWords(const bfloat16* low, const bfloat16* high, int64_t count, uint32_t* to) {
  if (high == nullptr) {
    for (int64_t i = 0; i < count; ++i) to[i] = low[i].bits;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = uint32_t(low[i].bits) | uint32_t(high[i].bits) << 16;
  }
}

/** Columns [first, first + count) of from[inner, stride] to stripes of words. */
template <class T>
void packStripes(const T* from, int64_t inner, int64_t stride, int64_t first, int64_t count, FactorWord<T>* to) {
  using W = FactorWord<T>;
  constexpr int64_t kNumbers = kNumbersOf<T>;
  // Words at once: stripes lie far from each other, so each gets a few lines in a row.
  constexpr int64_t kDeep = 16;
  // Copied of a row at once: one vector, whose last two words the next row's copy overwrites.
  constexpr int64_t kCopied = 8;
  constexpr bool kAsItLies = std::is_same_v<T, W>;
  const int64_t words = (inner + kNumbers - 1) / kNumbers;
  [[maybe_unused]] W made[kAsItLies ? 1 : kDeep][kTaskRows + kCopied];
  const W* rows[kDeep];
  for (int64_t top = 0; top < words; top += kDeep) {
    const int64_t deep = std::min(kDeep, words - top);
    for (int64_t w = 0; w < deep; ++w) {
      const T* const low = from + (top + w) * kNumbers * stride + first;
      // The hardware prefetcher does not find that a few lines of each row are next.
      for (int64_t row = 0; row < kNumbers; ++row) {
        fetchLines<Use::kRead>(low + (kDeep * kNumbers + row) * stride, count);
      }
      if constexpr (kAsItLies) {
        rows[w] = low;
      } else {
        copyWords(low, (top + w + 1) * kNumbers <= inner ? low + stride : nullptr, count, made[w]);
        rows[w] = made[w];
      }
    }
    for (int64_t column = 0; column < count; column += kStripe) {
      const int64_t high = std::min<int64_t>(kStripe, count - column);
      W* const stripe = to + column * words + top * high;
      const bool whole = high == kStripe && (!kAsItLies || first + column + kCopied <= stride);
      const int64_t copied = whole ? std::min(deep, words - 1 - top) : 0;
      for (int64_t w = 0; w < copied; ++w) {
        std::memcpy(stripe + w * kStripe, rows[w] + column, kCopied * sizeof(W));
      }
      for (int64_t w = copied; w < deep; ++w) {
        std::memcpy(stripe + w * high, rows[w] + column, size_t(high) * sizeof(W));
      }
    }
  }
}

/** Rows [0, count) of from[.., words] to stripes; up to two numbers after them are overwritten. */
inline void packStripesOfRows(const float* from, int64_t words, int64_t count, float* to) {
  for (int64_t row = 0; row < count; row += kStripe) {
    const int64_t high = std::min<int64_t>(kStripe, count - row);
    const float* const rows = from + row * words;
    float* const stripe = to + row * words;
    int64_t w = 0;
#if defined(__AVX__) && !defined(__AVX512F__)
    // Each word is stored with two zeros after it, which the next one's store overwrites.
    if (high == kStripe) {
      for (; w + 8 <= words; w += 8) transpose8<kStripe>(rows + w, words, stripe + w * kStripe, kStripe);
    }
#endif
    for (; w < words; ++w) {
      for (int64_t r = 0; r < high; ++r) stripe[w * high + r] = rows[r * words + w];
    }
  }
}

/** Calls body(tile) for the tiles of C, in parallel. */
template <class W, class S, class F>
void forEachTile(int64_t rows, const Target<W, S>& target, int64_t leastColumns, F&& body) {
  const std::vector<Tile> tiles = tilesOf(rows, target.columns, leastColumns);
  forEachTask(int64_t(tiles.size()), [&](int64_t i) { body(tiles[size_t(i)]); });
}

/** C where A is read where it lies. */
template <class W, class S>
void multiplyInPlace(const W* a, int64_t rows, const Target<W, S>& target) {
  constexpr int64_t kLeastColumns = 128;
  const int64_t words = target.panels.rows;
  forEachTile(rows, target, kLeastColumns, [&](const Tile& tile) {
    computeTile(LeftSide<W>{a + tile.rows.first * words, words, false}, tile, target);
  });
}

/** C where A is packed: each tile packs its rows for itself, by pack(rows, memory). */
template <class W, class S, class Pack>
void multiplyPacked(int64_t rows, const Target<W, S>& target, bool striped, Pack&& pack) {
  // Narrower tiles would pack too much.
  constexpr int64_t kLeastColumns = 256;
  const int64_t words = target.panels.rows;
  forEachTile(rows, target, kLeastColumns, [&](const Tile& tile) {
    static thread_local Buffer memory;
    W* const packed = memory.take<W>(kTaskRows * words + kLanes);
    pack(tile.rows, packed);
    computeTile(LeftSide<W>{packed, words, striped}, tile, target);
    memory.trim(kKeptBytes);
  });
}

/** B to panels, in parallel. */
template <class T>
void packRight(const ProductShape& shape, const T* b, Panels<FactorWord<T>> to) {
  constexpr int64_t kPiece = 64;
  const int64_t count = shape.transposeB ? shape.columns : shape.inner;
  parallelFor((count + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kPiece, rows = std::min(kPiece, count - first);
      if (!shape.transposeB) {
        packRows(b + first * shape.columns, shape.columns, first / kNumbersOf<T>, rows, to);
      } else {
        packTransposed(b + first * shape.inner, shape.inner, first, rows, to);
      }
    }
  });
}

/** Rows of an odd number of bfloat16 with a zero after each, so that words do not reach into the next row. */
const bfloat16* evened(const bfloat16* from, int64_t rows, int64_t inner, Buffer& memory) {
  bfloat16* const to = memory.take<bfloat16>(rows * (inner + 1));
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * (inner + 1), from + r * inner, size_t(inner) * sizeof(bfloat16));
    to[r * (inner + 1) + inner].bits = 0;
  }
  return to;
}
const float* evened(const float* from, int64_t, int64_t, Buffer&) { return from; }

}  // namespace
}  // namespace gemm

const char* productTypes() {
#if defined(__AMX_BF16__)
  // Matrix tiles are faster than any of this, and TensorFlow's own products use them.
  return "float32";
#elif defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
  return "float32,bfloat16";
#else
  return "";
#endif
}

namespace gemm {
namespace {

/** The product with the whole inner dimension at once. */
template <class T, class S>
void productAtOnce(const ProductShape& shape, const T* a, const T* b, const float* plus, S* c) {
  using W = FactorWord<T>;
  constexpr int64_t kNumbers = kNumbersOf<T>;
  static thread_local Buffer right;
  Buffer evenA, evenB;
  ProductShape even = shape;
  if (kNumbers == 2 && shape.inner % 2 == 1 && (!shape.transposeA || shape.transposeB)) {
    if (!shape.transposeA) a = evened(a, shape.rows, shape.inner, evenA);
    if (shape.transposeB) b = evened(b, shape.columns, shape.inner, evenB), even.inner += 1;
  }
  const int64_t words = (shape.inner + kNumbers - 1) / kNumbers;
  Panels<W> panels{nullptr, words, roundUp(shape.columns, kLanes)};
  panels.data = right.take<W>(panels.size() + kAhead * kPanel);
  packRight(even, b, panels);
  const Target<W, S> target{panels, shape.columns, plus, c};
  if (shape.transposeA) {
    multiplyPacked(shape.rows, target, true, [&](const Rows& rows, W* to) {
      packStripes(a, shape.inner, shape.rows, rows.first, rows.count, to);
    });
  } else if constexpr (kWidens<T>) {
    multiplyPacked(shape.rows, target, false, [&](const Rows& rows, W* to) {
      factors(a + rows.first * words, rows.count * words, to);
    });
  } else if constexpr (kMaxVectors == 1) {
    // A narrow block reads six rows for little work on each: they are faster when they are contiguous.
    multiplyPacked(shape.rows, target, true, [&](const Rows& rows, W* to) {
      packStripesOfRows(a + rows.first * words, words, rows.count, to);
    });
  } else {
    multiplyInPlace(reinterpret_cast<const W*>(a), shape.rows, target);
  }
  right.trim(kKeptBytes);
}

}  // namespace
}  // namespace gemm

template <class T, class S>
void product(const ProductShape& shape, const T* a, const T* b, const float* plus, S* c) {
  using namespace gemm;
  if constexpr (std::is_same_v<S, float>) {
    if (shape.transposeA && !shape.transposeB) {
      constexpr int64_t kNumbers = kNumbersOf<T>;
      eachInnerPart((shape.inner + kNumbers - 1) / kNumbers, kTransposedWords, [&](int64_t begin, int64_t end) {
        ProductShape part = shape;
        const int64_t first = begin * kNumbers;
        part.inner = std::min(end * kNumbers, shape.inner) - first;
        productAtOnce(part, a + first * shape.rows, b + first * shape.columns, begin == 0 ? plus : c, c);
      });
      return;
    }
  }
  productAtOnce(shape, a, b, plus, c);
}

template void product<float, float>(const ProductShape&, const float*, const float*, const float*, float*);
template void product<bfloat16, float>(const ProductShape&, const bfloat16*, const bfloat16*, const float*, float*);
template void product<bfloat16, bfloat16>(const ProductShape&, const bfloat16*, const bfloat16*, const float*,
                                          bfloat16*);

}  // namespace weir
