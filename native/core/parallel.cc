// The pool behind parallelFor. Workers take pieces of whatever loops are open; without any they spin for a moment, since
// the next kernel usually follows at once, then stay ready for the next graph, and then sleep.
#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// About what waking a sleeping thread costs; longer would take the core from TensorFlow's own threads.
constexpr std::chrono::microseconds kSpin{30};
// From one graph call to the next. A worker that sleeps then may wake on the core of the thread that woke it, and stay
// there for milliseconds; one that yields lets other threads run meanwhile.
constexpr std::chrono::microseconds kReady{2000};
// Reading the clock takes much longer than a pause.
constexpr int kPausesPerLook = 32;
// Pieces into which each thread's part of the remaining work is split: pieces grow smaller towards the end, so that late or slow
// threads are waited for less.
constexpr int64_t kPiecesPerThread = 2;

inline void pauseCpu() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Flushes denormals while it lives, as TensorFlow does around its own kernels.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#endif
};

// One open loop; lives on its caller's stack.
struct Loop {
  LoopBody body;
  void* context;
  int64_t n;
  int64_t grain;
  std::atomic<int64_t> next{0};
  std::atomic<int> helpers{0};  // workers inside; raised under the pool's lock

  bool open() const { return next.load(std::memory_order_relaxed) < n; }
};

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) std::thread([this] { serve(); }).detach();
  }

  int threads() const { return threads_; }

  void run(Loop& loop) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loops_.push_back(&loop);
      open_.fetch_add(1, std::memory_order_release);
      if (sleeping_ > 0) wake_.notify_all();
    }
    work(loop);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
    }
    // No worker can join any more; those inside are at their last piece.
    for (int looks = 0; loop.helpers.load(std::memory_order_acquire) > 0; ++looks) {
      if (looks < 1 << 14) pauseCpu();
      else std::this_thread::yield();
    }
  }

 private:
  void work(Loop& loop) {
    int64_t begin = loop.next.load(std::memory_order_relaxed);
    while (begin < loop.n) {
      const int64_t end = begin + pieceOf(loop.n - begin, loop.grain);
      if (!loop.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      if (end == loop.n) open_.fetch_sub(1, std::memory_order_relaxed);
      loop.body(loop.context, begin, end);
      begin = loop.next.load(std::memory_order_relaxed);
    }
  }

  // Indices of the next piece; a remainder of less than a grain goes with it.
  int64_t pieceOf(int64_t left, int64_t grain) const {
    const int64_t piece = std::max(grain, left / (threads_ * kPiecesPerThread));
    return left - piece < grain ? left : piece;
  }

  void serve() {
    const FlushDenormals flush;
    for (;;) {
      Loop* const loop = join();
      work(*loop);
      loop->helpers.fetch_sub(1, std::memory_order_release);
    }
  }

  // Waits for a loop with pieces left and enters it.
  Loop* join() {
    const auto start = std::chrono::steady_clock::now();
    std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
    for (bool last = false; !last;) {
      const auto waited = std::chrono::steady_clock::now() - start;
      last = waited > kReady;
      if (waited > kSpin) std::this_thread::yield();
      for (int i = 0; i < kPausesPerLook && open_.load(std::memory_order_acquire) == 0; ++i) pauseCpu();
      if (!last && open_.load(std::memory_order_relaxed) == 0) continue;
      lock.lock();
      if (Loop* loop = pick()) return loop;
      if (!last) lock.unlock();
    }
    // The loop that ends the wait is entered at once: its last piece may be taken without the lock.
    Loop* found = nullptr;
    ++sleeping_;
    wake_.wait(lock, [&] { return (found = pick()) != nullptr; });
    --sleeping_;
    return found;
  }

  // Under the lock.
  Loop* pick() {
    for (Loop* loop : loops_) {
      if (!loop->open()) continue;
      loop->helpers.fetch_add(1, std::memory_order_relaxed);
      return loop;
    }
    return nullptr;
  }

  const int threads_;
  std::atomic<int> open_{0};  // loops with pieces left
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Loop*> loops_;
  int sleeping_ = 0;
};

int wantedThreads() {
  if (const char* asked = std::getenv("TF_NUM_INTRAOP_THREADS")) {
    const int count = std::atoi(asked);
    if (count > 0) return count;
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

// Never destroyed: workers outlive static destructors.
Pool& pool() {
  static Pool* const made = new Pool(wantedThreads());
  return *made;
}

}  // namespace

int threadCount() { return pool().threads(); }

void runLoop(int64_t n, int64_t grain, LoopBody body, void* context) {
  if (n <= 0) return;
  const FlushDenormals flush;
  grain = std::max<int64_t>(grain, 1);
  if (n <= grain || pool().threads() == 1) return body(context, 0, n);
  Loop loop{body, context, n, grain};
  pool().run(loop);
}

}  // namespace weir
