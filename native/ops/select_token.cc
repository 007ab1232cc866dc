#include "ops/select_token.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "simd/floats.h"
#include "core/parallel.h"

namespace weir {
namespace {

// Halvings of the logarithmic range of thresholds, e^16 or so: a relative error of 2^-16.
constexpr int kHalvings = 20;

struct Row {
  std::vector<float> mass;
  std::vector<float> order;
};

// Vectors that are taken at once: sums of their own, so that one addition need not wait for another.
constexpr int kSide = 4;
constexpr int64_t kStretch = kSide * kFloats;

float massFrom(const float* mass, int64_t n, float threshold) {
  Floats sum[kSide] = {};
  const Floats least = splat(threshold);
  const auto counted = [&](Floats x) { return x >= least ? x : Floats{}; };
  int64_t i = 0;
  for (; i + kStretch <= n; i += kStretch) {
    for (int v = 0; v < kSide; ++v) sum[v] += counted(load(mass + i + v * kFloats));
  }
  eachVector(n - i, [&](int64_t j, auto lanes) { sum[0] += lanes.masked(counted(lanes.get(mass + i + j))); });
  return sumLanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// -inf where nothing is a number.
float largest(const float* from, int64_t n) {
  Floats top[kSide];
  for (int v = 0; v < kSide; ++v) top[v] = splat(-std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kStretch <= n; i += kStretch) {
    for (int v = 0; v < kSide; ++v) top[v] = larger(load(from + i + v * kFloats), top[v]);
  }
  float most = largestLane(larger(larger(top[0], top[1]), larger(top[2], top[3])));
  for (; i < n; ++i) most = std::max(most, from[i]);
  return most;
}

// The largest mass such that all tokens of at least this mass hold the fraction topP. Tokens below (1 − p)·total/V hold less
// than 1 − p together, so that threshold always suffices.
float nucleusThreshold(const float* mass, int64_t n, float total, float topP) {
  const float limit = total * topP;
  float low = (total - limit) / static_cast<float>(n);
  float high = largest(mass, n);
  for (int i = 0; i < kHalvings && low < high; ++i) {
    const float middle = std::sqrt(low * high);
    (massFrom(mass, n, middle) >= limit ? low : high) = middle;
  }
  return low;
}

void keepFrom(float* mass, int64_t n, float threshold) {
  const Floats least = splat(threshold);
  eachVector(n, [&](int64_t i, auto lanes) {
    const Floats x = lanes.get(mass + i);
    lanes.put(mass + i, x >= least ? x : Floats{});
  });
}

// Σ mass of tokens [begin, end), a stretch at most.
float massOf(const float* mass, int64_t begin, int64_t end) {
  Floats sum = {};
  eachVector(end - begin, [&](int64_t i, auto lanes) { sum += lanes.get(mass + begin + i); });
  return sumLanes(sum);
}

// First token whose cumulative mass exceeds u · total; never one of zero mass. Whole stretches are skipped.
int64_t inverse(const float* mass, int64_t n, float uniform) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kStretch) total += massOf(mass, i, std::min(n, i + kStretch));
  const double wanted = total * uniform;
  double sum = 0;
  int64_t last = 0;
  for (int64_t begin = 0; begin < n; begin += kStretch) {
    const int64_t end = std::min(n, begin + kStretch);
    const float own = massOf(mass, begin, end);
    if (own <= 0) continue;
    double inside = sum;
    sum += own;
    if (sum <= wanted && end < n) {
      last = begin;
      continue;
    }
    for (int64_t i = begin; i < end; ++i) {
      if (mass[i] <= 0) continue;
      inside += mass[i];
      last = i;
      if (inside > wanted) return i;
    }
  }
  // Reached by rounding only: the last token of positive mass.
  for (int64_t i = std::min(n, last + kStretch); i-- > last;) {
    if (mass[i] > 0) return i;
  }
  return last;
}

}  // namespace

void selectTokens(const float* logits, int64_t rows, int64_t vocabulary, const float* uniforms,
                  const SelectOptions& options, int32_t* ids, float* logprobs, float* entropies) {
  parallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    static thread_local Row row;
    row.mass.resize(static_cast<size_t>(vocabulary));
    float* mass = row.mass.data();
    for (int64_t r = begin; r < end; ++r) {
      const float* from = logits + r * vocabulary;
      const float most = largest(from, vocabulary);
      const int64_t found = std::find(from, from + vocabulary, most) - from, best = found < vocabulary ? found : 0;
      const Floats top = splat(most);
      Floats sum = {}, weighted = {};
      eachVector(vocabulary, [&](int64_t i, auto lanes) {
        const Floats shifted = lanes.get(from + i) - top;
        const Floats e = lanes.masked(exponential(shifted));
        lanes.put(mass + i, e);
        sum += e;
        weighted += e * shifted;
      });
      const float total = sumLanes(sum);
      const float logTotal = std::log(total);
      entropies[r] = logTotal - sumLanes(weighted) / total;
      int64_t chosen = best;
      if (!options.greedy && std::isfinite(total)) {
        float remaining = total;
        if (options.topK > 0 && options.topK < vocabulary) {
          row.order.assign(mass, mass + vocabulary);
          const auto kth = row.order.begin() + options.topK - 1;
          std::nth_element(row.order.begin(), kth, row.order.end(), std::greater<float>());
          keepFrom(mass, vocabulary, *kth);
          remaining = massFrom(mass, vocabulary, std::numeric_limits<float>::min());
        }
        if (options.nucleus) keepFrom(mass, vocabulary, nucleusThreshold(mass, vocabulary, remaining, options.topP));
        chosen = inverse(mass, vocabulary, uniforms[r]);
      }
      ids[r] = static_cast<int32_t>(chosen);
      logprobs[r] = from[chosen] - most - logTotal;
    }
  });
}

}  // namespace weir
