// Owns splitting loops over threads: a pool of its own, so that kernels do not depend on the caller's.
// Invariants: which thread runs a piece never changes a result (sums go through `blocksOf`, a partition of the rows alone);
// calls may come from several threads at once and may nest; denormals are flushed in every piece, as TensorFlow does.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace weir {

using LoopBody = void (*)(void* context, int64_t begin, int64_t end);

// Runs `body` over [0, n) in pieces; see parallelFor.
void runLoop(int64_t n, int64_t grain, LoopBody body, void* context);

// Threads that a loop may use: TF_NUM_INTRAOP_THREADS, else one per core.
int threadCount();

// Calls body(begin, end) for pieces that cover [0, n) exactly once, each of `grain` indices at least (but for the last),
// on this thread and those of the pool; returns when all are done. The body must not throw.
template <class F>
void parallelFor(int64_t n, int64_t grain, F&& body) {
  using Body = std::remove_reference_t<F>;
  runLoop(
      n, grain, [](void* context, int64_t begin, int64_t end) { (*static_cast<Body*>(context))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Elements that are worth a thread: some microseconds of work.
constexpr int64_t kGrainElements = 1 << 14;

// Grain for loops over rows of so many elements.
inline int64_t grainOfRows(int64_t columns) {
  return columns >= kGrainElements ? 1 : kGrainElements / (columns < 1 ? 1 : columns);
}

// Calls body(begin, end) for pieces of [0, n) whose inner borders are multiples of 1024.
template <class F>
void parallelElements(int64_t n, F&& body) {
  constexpr int64_t tile = 1024;
  parallelFor((n + tile - 1) / tile, kGrainElements / tile, [&](int64_t begin, int64_t end) {
    body(begin * tile, end * tile < n ? end * tile : n);
  });
}

// A fixed partition of rows for sums over them: it depends on the number of rows only.
struct Blocks {
  int64_t count;
  int64_t rows;  // in each block but the last
};

// About 32 blocks, of 256 rows at most: enough for many threads, and float sums stay short.
inline Blocks blocksOf(int64_t rows) {
  int64_t each = (rows + 31) / 32;
  each = each < 1 ? 1 : each > 256 ? 256 : each;
  return {(rows + each - 1) / each, each};
}

// Calls body(i) for i in [0, n), each index as soon as a thread is free, in order of start.
template <class F>
void forEachTask(int64_t n, F&& body) {
  std::atomic<int64_t> next{0};
  parallelFor(n, 1, [&](int64_t, int64_t) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) body(i);
  });
}

}  // namespace weir
