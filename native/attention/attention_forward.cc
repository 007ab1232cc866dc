// Owns the forward pass: blocks of queries against blocks of keys, with the softmax kept up to date as
// keys come in. For a row with running maximum m, sum l and output O, a block of scores S gives
//   m' = max(m, max S),   W = exp(S - m'),   l' = e^(m - m') l + sum W,   O' = e^(m - m') O + W V
// and at the end o = O / l, lse = m + log l.
#include "attention/attention.h"

#include "gemm/gemm.h"
#include "attention/keys.h"
#include "attention/rows.h"

namespace weir {
namespace attention {

using namespace gemm;
namespace {

/** The running state of a block's rows. */
struct Softmax {
  float* scores;   // [rows, kScoreStride]; the weights take the scores' place
  float* out;      // [rows, width]
  float* largest;  // [rows]
  float* total;    // [rows]
  int64_t width;   // dh rounded up to 16

  Softmax from(int64_t row) const { return {scores, out + row * width, largest + row, total + row, width}; }
};

/**
 * Takes n scores of a row in: weights in place, as factors of T, with zeros from n up to fill (rounded up to 16).
 * A fresh row has no state yet, and no out.
 */
template <class T>
WEIR_INLINE void takeScores(float* scores, int64_t n, int64_t fill, bool fresh, const Softmax& row) {
  const int64_t whole = n / kLanes * kLanes;
  Lanes high = splatLanes(fresh ? -kInfinity : *row.largest), high2 = high;
  int64_t j = 0;
  for (; j + 2 * kLanes <= whole; j += 2 * kLanes) {
    high = larger(high, loadLanes(scores + j));
    high2 = larger(high2, loadLanes(scores + j + kLanes));
  }
  if (j < whole) high = larger(high, loadLanes(scores + j));
  if (whole < n) high2 = larger(high2, keepFirst(loadLanes(scores + whole), n - whole, high));
  const float largest = largestOf(larger(high, high2));

  const Lanes shift = splatLanes(largest);
  Lanes sum = splatLanes(0.0f);
  Factor<T>* weights = reinterpret_cast<Factor<T>*>(scores);
  for (j = 0; j < whole; j += kLanes) {
    const Lanes weight = expOfDifference(loadLanes(scores + j), shift, T());
    sum = add(sum, weight);
    store(weights + j, weight);
  }
  for (; j < fill; j += kLanes) {
    const Lanes weight = keepFirst(expOfDifference(loadLanes(scores + j), shift, T()), n - j, splatLanes(0.0f));
    sum = add(sum, weight);
    store(weights + j, weight);
  }

  float total = sumOf(sum);
  if (!fresh) {
    // A factor that is not a number must reach out and total as well.
    const float factor = *row.largest == largest ? 1.0f : std::exp(*row.largest - largest);
    total += factor * *row.total;
    if (factor != 1.0f) {
      for (int64_t c = 0; c < row.width; c += kLanes) store(row.out + c, mul(loadLanes(row.out + c), splatLanes(factor)));
    }
  }
  *row.largest = largest;
  *row.total = total;
}

/** Takes a set of keys in for rows of q: all of them, or for row r at position time + r those up to it (causal). */
template <class T>
void attend(const Factor<T>* q, int64_t depth, int64_t rows, const PackedKeys<FactorWord<T>>& keys, bool causal,
            int64_t time, bool fresh, const Softmax& state) {
  using W = FactorWord<T>;
  constexpr int64_t kNumbers = kNumbersOf<T>;
  const int64_t visible = causal ? std::min(keys.count, time + rows) : keys.count;
  for (int64_t first = 0; first < visible; first += kBlockKeys) {
    const int64_t count = std::min(kBlockKeys, visible - first);
    // Keys of this block that row r sees.
    const auto seen = [&](int64_t r) { return causal ? std::min(count, time + r + 1 - first) : count; };
    const int64_t words = depth / kNumbers;
    multiply<Side::kByRows>(
        reinterpret_cast<const W*>(q), words, rows, keys.keysT, 0, first, state.scores, kScoreStride, true, false,
        [&](int64_t r, int64_t n) { return Bounds{0, words, seen(r + n - 1)}; }, count);
    for (int64_t r = 0; r < rows; ++r) {
      // The rows of a stripe are multiplied up to what its last row sees.
      const int64_t n = seen(r), fill = std::min(count, n + kStripe);
      takeScores<T>(state.scores + r * kScoreStride, n, fill, fresh, state.from(r));
    }
    multiply<Side::kByRows>(
        reinterpret_cast<const W*>(state.scores), kScoreStride, rows, keys.values, first / kNumbers, 0, state.out,
        state.width, true, !fresh,
        [&](int64_t r, int64_t n) { return Bounds{0, (seen(r + n - 1) + kNumbers - 1) / kNumbers, state.width}; },
        state.width);
    fresh = false;
  }
}

/** One block of queries of a pair: the prefix for all rows at once, then each segment's own keys. */
template <class T>
void forwardBlock(const AttentionShape& shape, const KeySets<T>& sets, int64_t pair, const RowBlock& block, const T* q,
                  T* o, float* lse) {
  thread_local Buffer memory, wide;
  const int64_t depth = shape.headDim, width = roundUp(depth, kLanes);
  Softmax state;
  state.width = width;
  state.scores = memory.take<float>(kBlockRows * (kScoreStride + width + 2));
  state.out = state.scores + kBlockRows * kScoreStride;
  state.largest = state.out + kBlockRows * width;
  state.total = state.largest + kBlockRows;

  Factor<T>* const room = wide.take<Factor<T>>(kWidens<T> ? kBlockRows * depth : 0);
  const Factor<T>* const rowsOfQ = factors(q, block.rows * depth, room);
  const PackedKeys<FactorWord<T>> prefix = sets.prefix(pair);
  if (prefix.count > 0) attend<T>(rowsOfQ, depth, block.rows, prefix, false, 0, true, state);
  for (int64_t row = 0; row < block.rows; row += shape.length) {
    const int64_t rows = std::min(shape.length, block.rows - row);
    const int64_t g = (block.first + row) / shape.length / shape.headsPerKv;
    const bool fresh = prefix.count == 0;
    attend<T>(rowsOfQ + row * depth, depth, rows, sets.own(pair, g), true, block.time, fresh, state.from(row));
  }

  for (int64_t r = 0; r < block.rows; ++r) {
    const Lanes scale = splatLanes(1.0f / state.total[r]);
    for (int64_t c = 0; c < depth; c += kLanes) {
      storeNumbers(o + r * depth + c, mul(loadLanes(state.out + r * width + c), scale), depth - c);
    }
    lse[r] = state.largest[r] + std::log(state.total[r]);
  }
}

}  // namespace
}  // namespace attention

template <class T>
void attentionForward(const AttentionShape& shape, const AttentionInputs<T>& inputs, T* o, float* lse) {
  using namespace attention;
  thread_local Buffer memory;
  KeySets<T> sets(shape, Pass::kForward, inputs);
  const RowBlocks blocks(shape);
  const int64_t rows = shape.group * shape.headsPerKv * shape.length;
  for (int64_t first = 0, last; first < sets.pairs(); first = last) {
    last = std::min(sets.pairs(), first + sets.pairsPerBatch());
    sets.pack(first, last, memory);
    forEachTask((last - first) * blocks.count(), [&](int64_t i) {
      const int64_t pair = first + i / blocks.count();
      const RowBlock block = blocks.longestFirst(i % blocks.count());
      const int64_t row = pair * rows + block.first;
      forwardBlock<T>(shape, sets, pair, block, inputs.q + row * shape.headDim, o + row * shape.headDim, lse + row);
    });
  }
  memory.trim(kPackedBytes);
}

template void attentionForward<float>(const AttentionShape&, const AttentionInputs<float>&, float*, float*);
template void attentionForward<bfloat16>(const AttentionShape&, const AttentionInputs<bfloat16>&, bfloat16*, float*);

}  // namespace weir
