// Micro-benchmarks: median time of each over at least a second. Arguments as of the tests.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "core/parallel.h"
#include "gemm/product.h"

namespace {

using Clock = std::chrono::steady_clock;

// Median seconds of a call.
template <class F>
double median(F&& body) {
  body();
  std::vector<double> times;
  for (const auto end = Clock::now() + std::chrono::seconds(1); Clock::now() < end || times.size() < 5;) {
    const auto start = Clock::now();
    body();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + long(times.size() / 2), times.end());
  return times[times.size() / 2];
}

void benchProduct(int64_t m, int64_t k, int64_t n) {
  const std::vector<float> a(size_t(m * k), 0.5f), b(size_t(k * n), 0.25f);
  std::vector<float> c(size_t(m * n));
  const double seconds = median([&] {
    weir::product<float, float>({m, n, k, false, true}, a.data(), b.data(), nullptr, c.data());
  });
  std::printf("product %5ld x %5ld x %5ld  %8.3f ms  %7.1f GFLOP/s\n", long(m), long(k), long(n), 1e3 * seconds,
              2e-9 * double(m) * double(k) * double(n) / seconds);
}

void benchAttention(int64_t length, int64_t prefix) {
  const weir::AttentionShape shape{1, 2, 8, 4, length, 64, prefix};
  const int64_t queries = 2 * 8 * 4 * length * 64, keys = 2 * 8 * length * 64, prefixes = 2 * prefix * 64;
  const std::vector<float> q(size_t(queries), 0.01f), k(size_t(keys), 0.02f), v(size_t(keys), 0.03f);
  const std::vector<float> kp(size_t(prefixes), 0.02f), vp(size_t(prefixes), 0.03f);
  std::vector<float> o(q.size()), lse(q.size() / 64);
  const int32_t lengths[] = {int32_t(prefix)};
  const weir::AttentionInputs<float> inputs{q.data(), k.data(), v.data(), kp.data(), vp.data(), lengths};
  const double seconds = median([&] { weir::attentionForward<float>(shape, inputs, o.data(), lse.data()); });
  std::printf("attention %5ld tokens after %5ld  %8.3f ms\n", long(length), long(prefix), 1e3 * seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  std::printf("%d threads\n", weir::threadCount());
  if (std::string("product").find(only) != std::string::npos) {
    for (const int64_t size : {256, 1024}) benchProduct(size, size, size);
    benchProduct(2048, 384, 1536);
  }
  if (std::string("attention").find(only) != std::string::npos) {
    benchAttention(64, 256);
    benchAttention(64, 1024);
  }
}
