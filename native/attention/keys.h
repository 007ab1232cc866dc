// Owns the packed keys and values of some (prompt, key head) pairs: a pair has one set for the prefix
// and one for each of the G rows. Packed once, then read by every block of queries.
#pragma once

#include <algorithm>
#include <vector>

#include "attention/attention.h"
#include "core/parallel.h"
#include "gemm/packing.h"

namespace weir {
namespace attention {

using namespace gemm;

/** Packed memory above this is split into batches of pairs: 64 MiB, a small part of the inputs that need it. */
constexpr int64_t kPackedBytes = int64_t(64) << 20;

/** Which layouts a pass needs: the forward K^T and V, the backward K^T, V^T and K. */
enum class Pass { kForward, kBackward };

/** One set of keys. keysT, valuesT: columns are keys; keys, values: rows are (pairs of) keys. */
template <class W>
struct PackedKeys {
  int64_t count;
  Panels<W> keysT;
  Panels<W> valuesT;  // backward
  Panels<W> keys;     // backward
  Panels<W> values;   // forward
};

template <class T>
class KeySets {
 public:
  using W = FactorWord<T>;

  KeySets(const AttentionShape& shape, Pass pass, const AttentionInputs<T>& inputs)
      : shape_(shape), pass_(pass), in_(inputs) {
    for (int64_t p = 0; p < shape.prompts; ++p) longest_ = std::max(longest_, prefixCount(p));
    pairWords_ = setWords(longest_) + shape.group * setWords(shape.length);
  }

  int64_t pairs() const { return shape_.prompts * shape_.kvHeads; }
  int64_t prefixCount(int64_t prompt) const {
    if (shape_.prefixLength == 0) return 0;
    return in_.prefixLengths == nullptr ? shape_.prefixLength : in_.prefixLengths[prompt];
  }

  /** Pairs that are packed at once; all of them if they fit. */
  int64_t pairsPerBatch() const {
    return std::min(pairs(), std::max<int64_t>(1, kPackedBytes / (pairWords_ * int64_t(sizeof(W)))));
  }

  /** Packs pairs [first, last) into memory, in parallel. */
  void pack(int64_t first, int64_t last, Buffer& memory) {
    first_ = first;
    words_ = memory.take<W>((last - first) * pairWords_);
    // Keys per piece of work: a multiple of the panel.
    constexpr int64_t kPiece = 256;
    const int64_t ownPieces = (shape_.length + kPiece - 1) / kPiece, prefixPieces = (longest_ + kPiece - 1) / kPiece;
    const int64_t pieces = shape_.group * ownPieces + prefixPieces;
    parallelFor((last - first) * pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pair = first + i / pieces, piece = i % pieces;
        const int64_t depth = shape_.headDim, length = shape_.length;
        if (piece < prefixPieces) {
          const int64_t offset = pair * shape_.prefixLength * depth;
          packPiece(prefix(pair), in_.kp + offset, in_.vp + offset, piece * kPiece, kPiece);
        } else {
          const int64_t g = (piece - prefixPieces) / ownPieces, part = (piece - prefixPieces) % ownPieces;
          const int64_t offset = (pair * shape_.group + g) * length * depth;
          packPiece(own(pair, g), in_.k + offset, in_.v + offset, part * kPiece, kPiece);
        }
      }
    });
  }

  PackedKeys<W> prefix(int64_t pair) const {
    return set(prefixCount(pair / shape_.kvHeads), words_ + (pair - first_) * pairWords_);
  }
  PackedKeys<W> own(int64_t pair, int64_t g) const {
    const int64_t words = setWords(shape_.length);
    return set(shape_.length, words_ + (pair - first_) * pairWords_ + setWords(longest_) + g * words);
  }

 private:
  static constexpr int64_t kNumbers = kNumbersOf<T>;

  Panels<W> columnPanels(int64_t count, W* at) const {
    return {at, shape_.headDim / kNumbers, roundUp(count, kLanes)};
  }
  Panels<W> rowPanels(int64_t count, W* at) const {
    return {at, (count + kNumbers - 1) / kNumbers, roundUp(shape_.headDim, kLanes)};
  }
  int64_t setWords(int64_t count) const {
    const int64_t byColumns = columnPanels(count, nullptr).size(), byRows = rowPanels(count, nullptr).size();
    return pass_ == Pass::kForward ? byColumns + byRows : 2 * byColumns + byRows;
  }
  PackedKeys<W> set(int64_t count, W* at) const {
    PackedKeys<W> y{};
    y.count = count;
    y.keysT = columnPanels(count, at);
    at += y.keysT.size();
    if (pass_ == Pass::kForward) {
      y.values = rowPanels(count, at);
    } else {
      y.valuesT = columnPanels(count, at);
      y.keys = rowPanels(count, at + y.valuesT.size());
    }
    return y;
  }
  void packPiece(const PackedKeys<W>& to, const T* k, const T* v, int64_t begin, int64_t most) const {
    const int64_t depth = shape_.headDim, count = std::min(most, to.count - begin);
    if (count <= 0) return;
    const T* keys = k + begin * depth;
    const T* values = v + begin * depth;
    packTransposed(keys, depth, begin, count, to.keysT);
    if (pass_ == Pass::kForward) {
      packRows(values, depth, begin / kNumbers, count, to.values);
    } else {
      packTransposed(values, depth, begin, count, to.valuesT);
      packRows(keys, depth, begin / kNumbers, count, to.keys);
    }
  }

  const AttentionShape shape_;
  const Pass pass_;
  const AttentionInputs<T> in_;
  int64_t longest_ = 0;    // longest prefix
  int64_t pairWords_ = 0;  // words of a pair's sets
  int64_t first_ = 0;      // first packed pair
  W* words_ = nullptr;
};

}  // namespace attention
}  // namespace weir
