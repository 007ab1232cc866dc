// Owns how the queries of one (prompt, key head) pair are cut into blocks, and how tasks are handed out.
//
// The G*headsPerKv*T queries of a pair lie one after another. A segment is the T of one (g, s). A block is
// either some whole segments (T small) or a part of one segment, so that its own keys are those of
// one position range and its prefix product has many rows.
#pragma once

#include <algorithm>

#include "attention/attention.h"
#include "gemm/blocks.h"

namespace weir {
namespace attention {

using namespace gemm;

/** Queries in a block: their scores against a block of keys stay in the second-level cache. */
constexpr int64_t kBlockRows = 128;
/** Keys that are scored at once. */
constexpr int64_t kBlockKeys = 256;
/** Floats between two rows of scores; not a power of two, so that rows fall on different cache sets. */
constexpr int64_t kScoreStride = kBlockKeys + 16;
// A block of keys that starts below a block's last query then starts at or below its first one.
static_assert(kBlockKeys % kBlockRows == 0, "blocks of keys start where blocks of queries start");

/** Queries [first, first + rows) of a pair; the first stands at position time of its segment. */
struct RowBlock {
  int64_t first;
  int64_t rows;
  int64_t time;
};

class RowBlocks {
 public:
  explicit RowBlocks(const AttentionShape& shape) : length_(shape.length), segments_(shape.group * shape.headsPerKv) {
    perSegment_ = (length_ + kBlockRows - 1) / kBlockRows;
    segmentsEach_ = std::max<int64_t>(1, kBlockRows / length_);
    count_ = perSegment_ > 1 ? perSegment_ * segments_ : (segments_ + segmentsEach_ - 1) / segmentsEach_;
  }

  int64_t count() const { return count_; }

  /** Block i, in order of rows. */
  RowBlock inOrder(int64_t i) const {
    if (perSegment_ > 1) return part(i / perSegment_, i % perSegment_);
    const int64_t first = i * segmentsEach_, last = std::min(segments_, first + segmentsEach_);
    return {first * length_, (last - first) * length_, 0};
  }

  /** Block i, those with the most keys first. */
  RowBlock longestFirst(int64_t i) const {
    if (perSegment_ > 1) return part(i % segments_, perSegment_ - 1 - i / segments_);
    return inOrder(i);
  }

 private:
  RowBlock part(int64_t segment, int64_t i) const {
    const int64_t time = i * kBlockRows;
    return {segment * length_ + time, std::min(kBlockRows, length_ - time), time};
  }
  int64_t length_;
  int64_t segments_;
  int64_t perSegment_;    // blocks of a segment
  int64_t segmentsEach_;  // segments of a block, where perSegment_ is 1
  int64_t count_;
};

}  // namespace attention
}  // namespace weir
