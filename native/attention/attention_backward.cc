// Owns the backward pass. For a block of queries and a block of keys, with W = exp(S - lse):
//   S = q K^T,  dP = dO V^T,  dS = W o (dP - delta),  dV += W^T dO,  dK += dS^T q,  dq += dS K
//
// The queries of a (prompt, key head) pair are cut into chunks of about equal work, one task each; how many
// depends on the shape alone. A chunk adds to dk and dv of the keys it is the first to touch; what it has for
// keys of earlier chunks goes into sums of its own, which are added in order of chunks at the end. Hence no
// result depends on threads.
#include "attention/attention.h"

#include "gemm/gemm.h"
#include "attention/keys.h"
#include "attention/rows.h"

namespace weir {
namespace attention {

using namespace gemm;
namespace {

/** Tasks wanted at least, and chunks of a pair at most: enough for several threads, few sums to add up. */
constexpr int64_t kTasks = 16;
constexpr int64_t kMostChunks = 8;
/** Bytes that the chunks' own sums may take. */
constexpr int64_t kSumBytes = int64_t(256) << 20;

/** Scratch of one task. W is the word of T: for bfloat16 the "inner index" below goes by twos. */
template <class W>
struct Scratch {
  float* scores;    // [kBlockRows, kScoreStride]  S, then weights, inner index = queries
  float* products;  // [kBlockRows, kScoreStride]  dP, then dS, inner index = queries
  W* slopes;        // [kBlockRows, kScoreStride]  dS, inner index = keys; for float the same as products
  float* dq;        // [kBlockRows, width]
  float* delta;     // [kBlockRows]
  W* qRows;         // q of the block, packed by rows
  W* dORows;        // dO of the block, packed by rows
  W* qPart;         // the same for a segment that starts at an odd row
  W* dOPart;
  float* q;         // q and dO of the block, where they are widened
  float* dO;
};

/** Rows of a block, or of one of its segments, as the products read them: F is what numbers are multiplied as. */
template <class F>
struct Queries {
  const F* q;
  const F* dO;
  int64_t rows;
  const float* lse;
  const float* delta;
  Panels<Word<F>> qRows;  // packed by rows, from row packed on
  Panels<Word<F>> dORows;
  int64_t packed;
  float* dq;  // [rows, width]
};

/**
 * W and dS of a row that sees the first n of count columns, where S and dP were; zeros follow, as far as a stripe's
 * last row or key is multiplied. For float factors of numbers T.
 */
template <class T>
WEIR_INLINE void differentiateRows(const Scratch<float>& at, int64_t row, int64_t /*rows*/, const float* lse,
                                   const float* delta, int64_t n, int64_t /*step*/, int64_t count) {
  float* s = at.scores + row * kScoreStride;
  float* d = at.products + row * kScoreStride;
  const int64_t fill = std::min(count, n + kStripe);
  const Lanes shift = splatLanes(lse[row]), mean = splatLanes(delta[row]), zero = splatLanes(0.0f);
  for (int64_t j = 0; j < fill; j += kLanes) {
    Lanes weight = expOfDifference(loadLanes(s + j), shift, T());
    Lanes slope = mul(weight, sub(loadLanes(d + j), mean));
    if (j + kLanes > n) {
      weight = keepFirst(weight, n - j, zero);
      slope = keepFirst(slope, n - j, zero);
    }
    store(s + j, weight);
    store(d + j, slope);
  }
}

/**
 * The same for rows row and row + 1 (bfloat16 factors; the second may be missing), which see n and n + step columns.
 * Over the scores of the first row go words (W[row, j], W[row + 1, j]), over its products those of dS; slopes gets dS
 * as it is.
 */
template <class T>
WEIR_INLINE void differentiateRows(const Scratch<uint32_t>& at, int64_t row, int64_t rows, const float* lse,
                                   const float* delta, int64_t n, int64_t step, int64_t count) {
  const bool both = row + 1 < rows;
  const int64_t n0 = n, n1 = both ? std::min(count, n + step) : 0, fill = std::min(count, n + kStripe);
  float* s0 = at.scores + row * kScoreStride;
  float* d0 = at.products + row * kScoreStride;
  const float* s1 = s0 + (both ? kScoreStride : 0);
  const float* d1 = d0 + (both ? kScoreStride : 0);
  bfloat16* slope0 = reinterpret_cast<bfloat16*>(at.slopes + row * kScoreStride);
  bfloat16* slope1 = slope0 + 2 * kScoreStride;
  const Lanes shift0 = splatLanes(lse[row]), mean0 = splatLanes(delta[row]), zero = splatLanes(0.0f);
  const Lanes shift1 = splatLanes(lse[row + both]), mean1 = splatLanes(delta[row + both]);
  for (int64_t j = 0; j < fill; j += kLanes) {
    Lanes w0 = expOfDifference(loadLanes(s0 + j), shift0, bfloat16());
    Lanes w1 = expOfDifference(loadLanes(s1 + j), shift1, bfloat16());
    Lanes y0 = mul(w0, sub(loadLanes(d0 + j), mean0));
    Lanes y1 = mul(w1, sub(loadLanes(d1 + j), mean1));
    if (j + kLanes > n0 || j + kLanes > n1) {
      w0 = keepFirst(w0, n0 - j, zero);
      y0 = keepFirst(y0, n0 - j, zero);
      w1 = keepFirst(w1, n1 - j, zero);
      y1 = keepFirst(y1, n1 - j, zero);
    }
    storePairs(reinterpret_cast<uint32_t*>(s0 + j), w0, w1);
    storePairs(reinterpret_cast<uint32_t*>(d0 + j), y0, y1);
    store(slope0 + j, y0);
    if (both) store(slope1 + j, y1);
  }
}

/** Adds what one set of keys contributes to dq (which it begins if fresh), and what the queries contribute to dk and dv. */
template <class T>
void differentiate(const Queries<Factor<T>>& rows, int64_t depth, const PackedKeys<FactorWord<T>>& keys, bool causal,
                   int64_t time, bool fresh, const Scratch<FactorWord<T>>& at, float* dk, float* dv) {
  using W = FactorWord<T>;
  constexpr int64_t kNumbers = kNumbersOf<T>;
  const int64_t words = depth / kNumbers, width = roundUp(depth, kLanes);
  const int64_t visible = causal ? std::min(keys.count, time + rows.rows) : keys.count;
  for (int64_t first = 0; first < visible; first += kBlockKeys) {
    const int64_t count = std::min(kBlockKeys, visible - first);
    const auto seen = [&](int64_t r) { return causal ? std::min(count, time + r + 1 - first) : count; };
    const auto scored = [&](int64_t r, int64_t n) { return Bounds{0, words, seen(r + n - 1)}; };
    multiply<Side::kByRows>(reinterpret_cast<const W*>(rows.q), words, rows.rows, keys.keysT, 0, first, at.scores,
                            kScoreStride, true, false, scored, count);
    multiply<Side::kByRows>(reinterpret_cast<const W*>(rows.dO), words, rows.rows, keys.valuesT, 0, first, at.products,
                            kScoreStride, true, false, scored, count);
    for (int64_t r = 0; r < rows.rows; r += kNumbers) {
      differentiateRows<T>(at, r, rows.rows, rows.lse, rows.delta, seen(r), causal ? 1 : 0, count);
    }
    // Queries before a key do not see it.
    const auto seeing = [&](int64_t j, int64_t) {
      const int64_t before = causal ? std::max<int64_t>(0, first + j - time) : 0;
      return Bounds{before / kNumbers, (rows.rows + kNumbers - 1) / kNumbers, depth};
    };
    multiply<Side::kByColumns>(reinterpret_cast<const W*>(at.scores), kNumbers * kScoreStride, count, rows.dORows,
                               rows.packed, 0, dv + first * depth, depth, false, true, seeing, depth);
    multiply<Side::kByColumns>(reinterpret_cast<const W*>(at.products), kNumbers * kScoreStride, count, rows.qRows,
                               rows.packed, 0, dk + first * depth, depth, false, true, seeing, depth);
    const auto upTo = [&](int64_t r, int64_t n) {
      return Bounds{0, (seen(r + n - 1) + kNumbers - 1) / kNumbers, width};
    };
    multiply<Side::kByRows>(static_cast<const W*>(at.slopes), kScoreStride, rows.rows, keys.keys, first / kNumbers, 0,
                            rows.dq, width, true, !fresh, upTo, width);
    fresh = false;
  }
}

/** Where a chunk adds to: the prefix, and the G rows' own keys, of which only the first may be shared. */
struct Targets {
  float* dkp;
  float* dvp;
  float* dk;  // [G, T, dh]
  float* dv;
  int64_t sharedRow;  // the row g whose own keys an earlier chunk began, or -1
  float* sharedDk;    // [T, dh]
  float* sharedDv;
};

/** The inputs and outputs of a pair, from its first row on. */
template <class T>
struct PairRows {
  const T* q;
  const T* o;
  const T* dO;
  const float* lse;
  T* dq;
};

template <class T>
Scratch<FactorWord<T>> takeScratch(int64_t width) {
  using W = FactorWord<T>;
  thread_local Buffer memory;
  constexpr int64_t kScores = kBlockRows * kScoreStride;
  // For float dS over the products serves both orders.
  constexpr int64_t kSlopes = kNumbersOf<T> == 1 ? 0 : kScores;
  const int64_t packed = kBlockRows / kNumbersOf<T> * width, wide = kWidens<T> ? kBlockRows * width : 0;
  float* at = memory.take<float>(2 * kScores + kSlopes + kBlockRows * (width + 1) + 4 * packed + 2 * wide);
  Scratch<W> y;
  y.scores = at;
  y.products = at + kScores;
  y.slopes = reinterpret_cast<W*>(kSlopes == 0 ? y.products : at + 2 * kScores);
  at += 2 * kScores + kSlopes;
  y.dq = at;
  y.delta = y.dq + kBlockRows * width;
  y.qRows = reinterpret_cast<W*>(y.delta + kBlockRows);
  y.dORows = y.qRows + packed;
  y.qPart = y.dORows + packed;
  y.dOPart = y.qPart + packed;
  y.q = reinterpret_cast<float*>(y.dOPart + packed);
  y.dO = y.q + wide;
  return y;
}

/** One block of queries: the prefix for all rows at once, then each segment's own keys. */
template <class T>
void backwardBlock(const AttentionShape& shape, const KeySets<T>& sets, int64_t pair, const RowBlock& block,
                   const PairRows<T>& at, const Targets& to) {
  using F = Factor<T>;
  constexpr int64_t kNumbers = kNumbersOf<T>;
  const int64_t depth = shape.headDim, width = roundUp(depth, kLanes), start = block.first * depth;
  const Scratch<FactorWord<T>> scratch = takeScratch<T>(width);

  for (int64_t r = 0; r < block.rows; ++r) {
    Lanes sum = splatLanes(0.0f);
    for (int64_t c = 0; c < depth; c += kLanes) {
      const int64_t offset = start + r * depth + c;
      sum = fma(loadNumbers(at.dO + offset, depth - c), loadNumbers(at.o + offset, depth - c), sum);
    }
    scratch.delta[r] = sumOf(sum);
  }
  const int64_t numbers = block.rows * depth;
  const F* const q = factors(at.q + start, numbers, reinterpret_cast<F*>(scratch.q));
  const F* const dO = factors(at.dO + start, numbers, reinterpret_cast<F*>(scratch.dO));
  Queries<F> rows{q, dO, block.rows, at.lse + block.first, scratch.delta, {}, {}, 0, scratch.dq};
  const int64_t packed = (block.rows + kNumbers - 1) / kNumbers;
  rows.qRows = {scratch.qRows, packed, width};
  rows.dORows = {scratch.dORows, packed, width};
  packRows(rows.q, depth, 0, block.rows, rows.qRows);
  packRows(rows.dO, depth, 0, block.rows, rows.dORows);

  const PackedKeys<FactorWord<T>> prefix = sets.prefix(pair);
  if (prefix.count > 0) differentiate<T>(rows, depth, prefix, false, 0, true, scratch, to.dkp, to.dvp);
  for (int64_t row = 0; row < block.rows; row += shape.length) {
    Queries<F> part = rows;
    part.q += row * depth;
    part.dO += row * depth;
    part.rows = std::min(shape.length, block.rows - row);
    part.lse += row;
    part.delta += row;
    part.dq += row * width;
    part.packed = row / kNumbers;
    if (shape.length % kNumbers != 0 && part.rows != block.rows) {
      // Words of the block's packed rows would mix two segments.
      const int64_t own = (part.rows + kNumbers - 1) / kNumbers;
      part.packed = 0;
      part.qRows = {scratch.qPart, own, width};
      part.dORows = {scratch.dOPart, own, width};
      packRows(part.q, depth, 0, part.rows, part.qRows);
      packRows(part.dO, depth, 0, part.rows, part.dORows);
    }
    const int64_t g = (block.first + row) / shape.length / shape.headsPerKv, offset = g * shape.length * depth;
    float* dk = g == to.sharedRow ? to.sharedDk : to.dk + offset;
    float* dv = g == to.sharedRow ? to.sharedDv : to.dv + offset;
    differentiate<T>(part, depth, sets.own(pair, g), true, block.time, prefix.count == 0, scratch, dk, dv);
  }

  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t c = 0; c < depth; c += kLanes) {
      storeNumbers(at.dq + start + r * depth + c, loadLanes(scratch.dq + r * width + c), depth - c);
    }
  }
}

/** Chunks of every pair. */
int64_t chunksOf(const AttentionShape& shape, const RowBlocks& blocks) {
  const int64_t pairs = shape.prompts * shape.kvHeads;
  const int64_t bytes = pairs * (shape.prefixLength + shape.length) * shape.headDim * 2 * int64_t(sizeof(float));
  const int64_t wanted = std::min({(kTasks + pairs - 1) / pairs, kMostChunks, 1 + kSumBytes / bytes});
  // A chunk of one block costs about as much to add up as to compute.
  return std::max<int64_t>(1, std::min(wanted, blocks.count() / 2));
}

/** First block of a chunk: work, in keys seen, is split evenly. chunk = chunks gives the number of blocks. */
int64_t firstBlock(const RowBlocks& blocks, int64_t prefixCount, int64_t chunk, int64_t chunks) {
  const auto work = [&](int64_t i) {
    const RowBlock block = blocks.inOrder(i);
    return block.rows * (2 * (prefixCount + block.time) + block.rows);
  };
  int64_t total = 0, done = 0, i = 0;
  for (int64_t b = 0; b < blocks.count(); ++b) total += work(b);
  while (i < blocks.count() && done * chunks < total * chunk) done += work(i++);
  return i;
}

/** How the queries of every pair are cut into chunks, and where the sums of all chunks but the first lie. */
template <class T>
class Chunks {
 public:
  Chunks(const AttentionShape& shape, const RowBlocks& blocks, const KeySets<T>& sets, Buffer& memory)
      : shape_(shape), blocks_(blocks), sets_(sets), count_(chunksOf(shape, blocks)),
        own_(shape.length * shape.headDim), prefix_(shape.prefixLength * shape.headDim),
        sums_(memory.take<float>(sets.pairs() * (count_ - 1) * sumsPerChunk())) {}

  int64_t count() const { return count_; }
  /** First block of a chunk; of chunk count(), the number of blocks. */
  int64_t begin(int64_t pair, int64_t chunk) const {
    return firstBlock(blocks_, sets_.prefixCount(pair / shape_.kvHeads), chunk, count_);
  }
  /** Row of the first query of a block. */
  int64_t rowOf(int64_t block) const { return blocks_.inOrder(block).first / (shape_.headsPerKv * shape_.length); }

  /** Where a chunk adds to; the sums that it alone begins are set to zero. */
  Targets targets(int64_t pair, int64_t chunk, const AttentionGradients<T>& out) const {
    const int64_t first = pair * shape_.group * own_;
    Targets to{out.dkp, out.dvp, out.dk + first, out.dv + first, -1, nullptr, nullptr};
    if (chunk > 0) {
      to.dkp = sumsOf(pair, chunk);
      to.dvp = to.dkp + prefix_;
      to.sharedDk = to.dvp + prefix_;
      to.sharedDv = to.sharedDk + own_;
      to.sharedRow = sharedRow(begin(pair, chunk));
      std::fill_n(to.sharedDk, 2 * own_, 0.0f);
    } else if (prefix_ > 0) {
      to.dkp += pair * prefix_;
      to.dvp += pair * prefix_;
    }
    if (prefix_ > 0) {
      std::fill_n(to.dkp, prefix_, 0.0f);
      std::fill_n(to.dvp, prefix_, 0.0f);
    }
    return to;
  }

  /** Adds the sums of later chunks to the gradients, each number in order of chunks. */
  void addTo(const AttentionGradients<T>& out) const {
    constexpr int64_t kPieces = 16;
    parallelFor(count_ > 1 ? sets_.pairs() * kPieces : 0, 1, [&](int64_t from, int64_t until) {
      for (int64_t i = from; i < until; ++i) addPiece(i / kPieces, i % kPieces, kPieces, out);
    });
  }

 private:
  // dkp, dvp, then dk and dv of one row.
  int64_t sumsPerChunk() const { return 2 * (prefix_ + own_); }
  float* sumsOf(int64_t pair, int64_t chunk) const { return sums_ + (pair * (count_ - 1) + chunk - 1) * sumsPerChunk(); }

  // The row whose own keys an earlier chunk began, or -1.
  int64_t sharedRow(int64_t block) const {
    if (block == 0 || block >= blocks_.count()) return -1;
    return blocks_.inOrder(block).first % (shape_.headsPerKv * shape_.length) != 0 ? rowOf(block) : -1;
  }

  void addPiece(int64_t pair, int64_t piece, int64_t pieces, const AttentionGradients<T>& out) const {
    const auto add = [&](const float* from, int64_t count, float* to) {
      const int64_t until = count * (piece + 1) / pieces;
      for (int64_t j = count * piece / pieces; j < until; ++j) to[j] += from[j];
    };
    for (int64_t chunk = 1; chunk < count_; ++chunk) {
      const float* from = sumsOf(pair, chunk);
      if (prefix_ > 0) {
        add(from, prefix_, out.dkp + pair * prefix_);
        add(from + prefix_, prefix_, out.dvp + pair * prefix_);
      }
      const int64_t g = sharedRow(begin(pair, chunk));
      if (g < 0) continue;
      const int64_t row = (pair * shape_.group + g) * own_;
      add(from + 2 * prefix_, own_, out.dk + row);
      add(from + 2 * prefix_ + own_, own_, out.dv + row);
    }
  }

  const AttentionShape& shape_;
  const RowBlocks& blocks_;
  const KeySets<T>& sets_;
  const int64_t count_, own_, prefix_;
  float* const sums_;
};

}  // namespace
}  // namespace attention

template <class T>
void attentionBackward(const AttentionShape& shape, const AttentionInputs<T>& inputs, const T* o, const float* lse,
                       const T* dO, const AttentionGradients<T>& gradients) {
  using namespace attention;
  thread_local Buffer memory, sums;
  KeySets<T> sets(shape, Pass::kBackward, inputs);
  const RowBlocks blocks(shape);
  const Chunks<T> chunks(shape, blocks, sets, sums);
  const int64_t depth = shape.headDim, own = shape.length * depth;
  const int64_t segmentRows = shape.headsPerKv * shape.length, rows = shape.group * segmentRows;

  for (int64_t first = 0, last; first < sets.pairs(); first = last) {
    last = std::min(sets.pairs(), first + sets.pairsPerBatch());
    sets.pack(first, last, memory);
    forEachTask((last - first) * chunks.count(), [&](int64_t i) {
      const int64_t pair = first + i / chunks.count(), chunk = i % chunks.count();
      const int64_t begin = chunks.begin(pair, chunk), end = chunks.begin(pair, chunk + 1);
      const Targets to = chunks.targets(pair, chunk, gradients);
      if (begin >= end) return;
      // Rows that this chunk is the first to touch.
      const RowBlock final = blocks.inOrder(end - 1);
      const int64_t from = chunks.rowOf(begin) + (to.sharedRow >= 0);
      const int64_t until = (final.first + final.rows - 1) / segmentRows + 1;
      if (from < until) {
        std::fill(to.dk + from * own, to.dk + until * own, 0.0f);
        std::fill(to.dv + from * own, to.dv + until * own, 0.0f);
      }
      const int64_t row = pair * rows, at = row * depth;
      const PairRows<T> pairRows{inputs.q + at, o + at, dO + at, lse + row, gradients.dq + at};
      for (int64_t b = begin; b < end; ++b) backwardBlock<T>(shape, sets, pair, blocks.inOrder(b), pairRows, to);
    });
  }
  memory.trim(kPackedBytes);
  chunks.addTo(gradients);
  sums.trim(kPackedBytes);
}

template void attentionBackward<float>(const AttentionShape&, const AttentionInputs<float>&, const float*,
                                       const float*, const float*, const AttentionGradients<float>&);
template void attentionBackward<bfloat16>(const AttentionShape&, const AttentionInputs<bfloat16>&, const bfloat16*,
                                          const float*, const bfloat16*, const AttentionGradients<bfloat16>&);

}  // namespace weir
