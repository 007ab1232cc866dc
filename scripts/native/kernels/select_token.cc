#include "select_token.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "numbers.h"
#include "parallel.h"

namespace weir {
namespace {

// Halvings of the logarithmic range of thresholds, e^16 or so: a relative error of 2^-16.
constexpr int kHalvings = 20;

struct Row {
  std::vector<float> mass;
  std::vector<float> order;
};

float massFrom(const float* mass, int64_t n, float threshold) {
  Floats sum = {};
  const Floats least = splat(threshold);
  eachVector(n, [&](int64_t i, auto lanes) {
    const Floats x = lanes.get(mass + i);
    sum += lanes.kept(x >= least ? x : Floats{});
  });
  return sumLanes(sum);
}

// The largest mass such that all tokens of at least this mass hold the share topP. Tokens below (1 − p)·total/V hold less
// than 1 − p together, so that threshold surely suffices.
float nucleusThreshold(const float* mass, int64_t n, float total, float topP) {
  const float limit = total * topP;
  float low = (total - limit) / static_cast<float>(n);
  float high = *std::max_element(mass, mass + n);
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

// First token whose cumulative mass exceeds u · total; never one of zero mass.
int64_t inverse(const float* mass, int64_t n, float uniform) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += mass[i];
  const double wanted = total * uniform;
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (mass[i] <= 0) continue;
    sum += mass[i];
    last = i;
    if (sum > wanted) return i;
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
      const int64_t best = std::max_element(from, from + vocabulary) - from;
      const Floats top = splat(from[best]);
      Floats sum = {}, weighted = {};
      eachVector(vocabulary, [&](int64_t i, auto lanes) {
        const Floats shifted = lanes.get(from + i) - top;
        const Floats e = lanes.kept(exponential(shifted));
        lanes.put(mass + i, e);
        sum += e;
        weighted += e * shifted;
      });
      const float total = sumLanes(sum);
      const float logTotal = std::log(total);
      entropies[r] = logTotal - sumLanes(weighted) / total;
      int64_t chosen = best;
      if (!options.greedy && std::isfinite(total)) {
        float kept = total;
        if (options.topK > 0 && options.topK < vocabulary) {
          row.order.assign(mass, mass + vocabulary);
          const auto kth = row.order.begin() + options.topK - 1;
          std::nth_element(row.order.begin(), kth, row.order.end(), std::greater<float>());
          keepFrom(mass, vocabulary, *kth);
          kept = massFrom(mass, vocabulary, std::numeric_limits<float>::min());
        }
        if (options.nucleus) keepFrom(mass, vocabulary, nucleusThreshold(mass, vocabulary, kept, options.topP));
        chosen = inverse(mass, vocabulary, uniforms[r]);
      }
      ids[r] = static_cast<int32_t>(chosen);
      logprobs[r] = from[chosen] - from[best] - logTotal;
    }
  });
}

}  // namespace weir
