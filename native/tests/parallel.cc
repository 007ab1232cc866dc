// The worker pool: every index once, nested and from several threads, the same result whatever the threads.
#include "core/parallel.h"

#include <atomic>
#include <memory>
#include <thread>

#include "tests/testing.h"

using namespace weir;

TEST("a loop covers every index exactly once, whatever its grain") {
  for (const int64_t n : {0, 1, 7, 1000, 100000}) {
    for (const int64_t grain : {1, 3, 4096}) {
      std::unique_ptr<std::atomic<int>[]> seen(new std::atomic<int>[size_t(n) + 1]());
      parallelFor(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) seen[size_t(i)].fetch_add(1);
      });
      for (int64_t i = 0; i < n; ++i) CHECK(seen[size_t(i)].load() == 1);
    }
  }
}

TEST("loops may nest and may come from several threads at once") {
  std::atomic<int64_t> total{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        parallelFor(16, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            parallelFor(8, 1, [&](int64_t from, int64_t to) { total.fetch_add(to - from); });
          }
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(total.load() == 4 * 50 * 16 * 8);
}

TEST("tasks are handed out one by one, each once") {
  std::unique_ptr<std::atomic<int>[]> seen(new std::atomic<int>[500]());
  forEachTask(500, [&](int64_t i) { seen[size_t(i)].fetch_add(1); });
  for (size_t i = 0; i < 500; ++i) CHECK(seen[i].load() == 1);
}

TEST("the partition of rows for sums depends on their number alone") {
  CHECK(blocksOf(1).count == 1);
  CHECK(blocksOf(33).rows == 2 && blocksOf(33).count == 17);
  CHECK(blocksOf(100000).rows == 256);
}
