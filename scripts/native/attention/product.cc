#include "product.h"

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "rows.h"

namespace weir {
namespace attention {
namespace {

/** Rows of C in one task at most: their part of A stays in the second-level cache beside a panel of B. */
constexpr int64_t kTaskRows = 96;
/** Rows of the last tasks, which even out what the threads have done. */
constexpr int64_t kLeastRows = 2 * kStripe;
/** Words of the inner dimension that are summed at once: such a part of a panel is half a megabyte. */
constexpr int64_t kInnerWords = 2048;
/** Memory that a thread keeps from one call for the next. */
constexpr int64_t kKeptBytes = int64_t(64) << 20;

/** Part of an entry's sum: where it starts from and where it goes to. */
template <class S>
struct Step {
  const float* from;  // null: zero
  int64_t fromStride;
  S* to;
  int64_t toStride;
  int64_t tail;
};

template <class W, Side side, int MR, int NV, class S>
void block(const W* a, int64_t aStride, const W* b, int64_t k, const Step<S>& step) {
  Lanes sum[MR][NV];
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const float* from = step.from + r * step.fromStride + v * kLanes;
      sum[r][v] = step.from == nullptr                  ? splat(0.0f)
                  : v < NV - 1 || step.tail == kLanes ? load(from)
                                                        : load(from, step.tail);
    }
  }
  sumBlock<W, side, MR, NV>(a, aStride, b, NV * kLanes, k, sum);
#pragma GCC unroll 6
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      S* const to = step.to + r * step.toStride + v * kLanes;
      storeNumbers(to, sum[r][v], v < NV - 1 ? kLanes : step.tail);
    }
  }
}

template <class W, Side side, int MR, class S>
void blockOfWidth(int64_t vectors, const W* a, int64_t aStride, const W* b, int64_t k, const Step<S>& step) {
  switch (vectors) {
    case 1: return block<W, side, MR, 1>(a, aStride, b, k, step);
    case 2: return block<W, side, MR, 2>(a, aStride, b, k, step);
    case 3: return block<W, side, MR, 3>(a, aStride, b, k, step);
    default: return block<W, side, MR, 4>(a, aStride, b, k, step);
  }
}

template <class W, Side side, class S>
void blockOfHeight(int64_t rows, int64_t vectors, const W* a, int64_t aStride, const W* b, int64_t k,
                   const Step<S>& step) {
  switch (rows) {
    case 1: return blockOfWidth<W, side, 1>(vectors, a, aStride, b, k, step);
    case 2: return blockOfWidth<W, side, 2>(vectors, a, aStride, b, k, step);
    case 3: return blockOfWidth<W, side, 3>(vectors, a, aStride, b, k, step);
    case 4: return blockOfWidth<W, side, 4>(vectors, a, aStride, b, k, step);
    case 5: return blockOfWidth<W, side, 5>(vectors, a, aStride, b, k, step);
    default: return blockOfWidth<W, side, kStripe>(vectors, a, aStride, b, k, step);
  }
}

/** Rows of A as words: row by row, or in stripes of kStripe rows that lie word by word. */
template <class W>
struct LeftSide {
  const W* data;
  int64_t words;
  bool striped;
};

/** `rows` rows of C against one panel, inner words [begin, end). */
template <class W, class S>
void rowsOfPanel(const LeftSide<W>& a, int64_t rows, const W* panel, int64_t vectors, int64_t begin, int64_t end,
                 Step<S> step) {
  const W* const b = panel + begin * vectors * kLanes;
  for (int64_t row = 0; row < rows; row += kStripe) {
    const int64_t high = std::min<int64_t>(kStripe, rows - row);
    const W* const left = a.data + row * a.words;
    if (a.striped) {
      blockOfHeight<W, Side::kByColumns>(high, vectors, left + begin * high, high, b, end - begin, step);
    } else {
      blockOfHeight<W, Side::kByRows>(high, vectors, left + begin, a.words, b, end - begin, step);
    }
    if (step.from != nullptr) step.from += kStripe * step.fromStride;
    step.to += kStripe * step.toStride;
  }
}

/** C of one call and what its sums start from. */
template <class W, class S>
struct Target {
  Panels<W> panels;
  int64_t columns;
  const float* plus;
  S* c;
};

/** Rows [first, first + rows) of C in one panel, the inner words in parts. */
template <class W, class S>
void tile(const LeftSide<W>& a, int64_t first, int64_t rows, int64_t panel, const Target<W, S>& target) {
  const int64_t column = panel * kPanel, columns = target.columns;
  const int64_t wide = std::min(kPanel, columns - column), vectors = (wide + kLanes - 1) / kLanes;
  const int64_t tail = wide - (vectors - 1) * kLanes;
  const int64_t parts = (a.words + kInnerWords - 1) / kInnerWords;
  const W* const right = target.panels.at(panel, 0);
  float partial[kTaskRows * kPanel];
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = a.words * part / parts, end = a.words * (part + 1) / parts;
    const bool starts = part == 0, ends = part == parts - 1;
    const float* const plus = target.plus == nullptr ? nullptr : target.plus + first * columns + column;
    const float* const from = starts ? plus : partial;
    const int64_t stride = starts ? columns : kPanel;
    if (ends) {
      const Step<S> step{from, stride, target.c + first * columns + column, columns, tail};
      rowsOfPanel(a, rows, right, vectors, begin, end, step);
    } else {
      rowsOfPanel(a, rows, right, vectors, begin, end, Step<float>{from, stride, partial, kPanel, tail});
    }
  }
}

/** Numbers of two rows put together as words; of one, where there is no second. */
WEIR_INLINE void copyWords(const float* from, const float*, int64_t count, float* to) {
  std::memcpy(to, from, size_t(count) * sizeof(float));
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
void packStripes(const T* from, int64_t inner, int64_t stride, int64_t first, int64_t count, Word<T>* to) {
  constexpr int64_t kNumbers = WordOf<T>::kNumbers;
  // Words at once: stripes lie far from each other, so each gets a few lines in a row.
  constexpr int64_t kDeep = 16;
  const int64_t words = (inner + kNumbers - 1) / kNumbers;
  // The last vector of a row is read beyond its end.
  Word<T> rows[kDeep][kTaskRows + kLanes];
  for (int64_t top = 0; top < words; top += kDeep) {
    const int64_t deep = std::min(kDeep, words - top);
    for (int64_t w = 0; w < deep; ++w) {
      const T* const low = from + (top + w) * kNumbers * stride + first;
      copyWords(low, (top + w + 1) * kNumbers <= inner ? low + stride : nullptr, count, rows[w]);
    }
    for (int64_t column = 0; column < count; column += kStripe) {
      const int64_t high = std::min<int64_t>(kStripe, count - column);
      Word<T>* const stripe = to + column * words + top * high;
      for (int64_t w = 0; w < deep; ++w) store(reinterpret_cast<float*>(stripe + w * high), load(rows[w] + column), high);
    }
  }
}

/** Rows [first, first + count) of one task. */
struct Rows {
  int64_t first;
  int64_t count;
};

/** All rows, in whole stripes, from large tasks to small ones. */
std::vector<Rows> tasksOf(int64_t rows) {
  std::vector<Rows> tasks;
  for (int64_t first = 0; first < rows;) {
    const int64_t share = roundUp((rows - first) / (2 * threadCount()), kStripe);
    const int64_t count = std::min(rows - first, std::clamp(share, kLeastRows, kTaskRows));
    tasks.push_back({first, count});
    first += count;
  }
  return tasks;
}

/** C where A lies by rows: a task is some rows and one panel. */
template <class T, class S>
void multiplyRowwise(const T* a, int64_t rows, const Target<Word<T>, S>& target) {
  using W = Word<T>;
  const int64_t words = target.panels.rows, panels = (target.columns + kPanel - 1) / kPanel;
  const int64_t each = kTaskRows, chunks = (rows + each - 1) / each;
  forEachTask(panels * chunks, [&](int64_t task) {
    const int64_t first = task / panels * each;
    const LeftSide<W> side{reinterpret_cast<const W*>(a) + first * words, words, false};
    tile(side, first, std::min(each, rows - first), task % panels, target);
  });
}

/** C where A lies by columns: a task packs some rows for itself and takes all panels. */
template <class T, class S>
void multiplyColumnwise(const T* a, int64_t rows, int64_t inner, const Target<Word<T>, S>& target) {
  using W = Word<T>;
  const int64_t words = target.panels.rows, panels = (target.columns + kPanel - 1) / kPanel;
  const std::vector<Rows> tasks = tasksOf(rows);
  forEachTask(int64_t(tasks.size()), [&](int64_t task) {
    static thread_local Buffer memory;
    const auto [first, count] = tasks[task];
    W* const stripes = memory.take<W>(kTaskRows * words);
    packStripes(a, inner, rows, first, count, stripes);
    const LeftSide<W> side{stripes, words, true};
    for (int64_t panel = 0; panel < panels; ++panel) tile(side, first, count, panel, target);
    memory.trim(kKeptBytes);
  });
}

/** B to panels, in parallel. */
template <class T>
void packRight(const ProductShape& shape, const T* b, Panels<Word<T>> to) {
  constexpr int64_t kNumbers = WordOf<T>::kNumbers;
  constexpr int64_t kPiece = 64;
  const int64_t count = shape.transposeB ? shape.columns : shape.inner;
  parallelFor((count + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kPiece, rows = std::min(kPiece, count - first);
      if (shape.transposeB) {
        packTransposed<T>(b + first * shape.inner, shape.inner, first, rows, to);
      } else {
        packRows(b + first * shape.columns, shape.columns, first / kNumbers, rows, to);
      }
    }
  });
}

/** Rows of an odd number of bfloat16 with a zero behind each, so that words do not reach into the next row. */
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
}  // namespace attention

const char* productTypes() {
  // Matrix tiles are faster than any of this, and TensorFlow's own products use them.
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
  return "float32,bfloat16";
#elif defined(__AVX512F__)
  return "float32";
#else
  return "";
#endif
}

template <class T, class S>
void product(const ProductShape& shape, const T* a, const T* b, const float* plus, S* c) {
  using namespace attention;
  using W = Word<T>;
  Buffer evenA, evenB;
  static thread_local Buffer right;
  ProductShape even = shape;
  if (WordOf<T>::kNumbers == 2 && shape.inner % 2 == 1 && (!shape.transposeA || shape.transposeB)) {
    if (!shape.transposeA) a = evened(a, shape.rows, shape.inner, evenA);
    if (shape.transposeB) b = evened(b, shape.columns, shape.inner, evenB), even.inner += 1;
  }
  const int64_t words = (shape.inner + WordOf<T>::kNumbers - 1) / WordOf<T>::kNumbers;
  Panels<W> panels{nullptr, words, roundUp(shape.columns, kLanes)};
  panels.data = right.take<W>(panels.size() + kAhead * kPanel);
  packRight(even, b, panels);
  const Target<W, S> target{panels, shape.columns, plus, c};
  if (shape.transposeA) multiplyColumnwise(a, shape.rows, shape.inner, target);
  else multiplyRowwise(a, shape.rows, target);
  right.trim(kKeptBytes);
}

template void product<float, float>(const ProductShape&, const float*, const float*, const float*, float*);
template void product<bfloat16, float>(const ProductShape&, const bfloat16*, const bfloat16*, const float*, float*);
template void product<bfloat16, bfloat16>(const ProductShape&, const bfloat16*, const bfloat16*, const float*,
                                          bfloat16*);

}  // namespace weir
