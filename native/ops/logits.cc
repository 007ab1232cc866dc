// What is wanted of rows of logits [m, V]: log-probability of the target, entropy, log of the partition sum, and the
// gradient at the logits.
#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

// Float sums are carried on in double after so many elements.
constexpr int64_t kRun = 4096;

const int32_t* targetsOf(Call& call, int place, int64_t rows, int64_t vocabulary) {
  const int32_t* const targets = call.elements<int32_t>(place, rows);
  for (int64_t row = 0; row < rows; ++row) {
    expect(targets[row] >= 0 && targets[row] < vocabulary,
           "targets: expected ids below " + std::to_string(vocabulary) + ", got " + std::to_string(targets[row]));
  }
  return targets;
}

template <class T>
float largestOf(const T* x, int64_t count) {
  Floats most = splat(-INFINITY);
  int64_t i = 0;
  for (; i + kFloats <= count; i += kFloats) most = larger(most, load(x + i));
  float largest = largestLane(most);
  for (; i < count; ++i) largest = std::fmax(largest, toFloat(x[i]));
  return largest;
}

template <class T>
struct LogitStats {
  explicit LogitStats(const Attributes&) {}

  void operator()(Call& call) const {
    const auto logits = call.matrix<T>(0);
    const int64_t rows = logits.rows(), width = logits.columns();
    const int32_t* const targets = targetsOf(call, 1, rows, width);
    float* const logprob = call.output<float>(0, {rows});
    float* const entropy = call.output<float>(1, {rows});
    float* const logz = call.output<float>(2, {rows});
    parallelFor(rows, grainOfRows(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* const x = logits.data + row * width;
        const float largest = largestOf(x, width);
        double total = 0, spread = 0;  // Σ w and Σ w·s with s = x − largest, w = e^s
        for (int64_t at = 0; at < width; at += kRun) {
          Floats weights{}, products{};
          eachVector(std::min(kRun, width - at), [&](int64_t i, auto lanes) {
            const Floats s = lanes.get(x + at + i) - largest;
            const Floats w = lanes.masked(exponential(s));
            weights += w;
            products += w * s;
          });
          total += sumLanes(weights);
          spread += sumLanes(products);
        }
        // A logit of −∞ leaves the total finite; 0·spread is then NaN, which shows it.
        const double log = std::log(total) + 0 * spread;
        logprob[row] = static_cast<float>(toFloat(x[targets[row]]) - largest - log);
        entropy[row] = static_cast<float>(log - spread / total);
        logz[row] = static_cast<float>(largest + log);
      }
    });
  }
};

// dlogits = p·(−dℓ − dH·(log p + H)) + dℓ·onehot(target), p = e^(logit − log Z).
template <class T>
struct LogitGrad {
  explicit LogitGrad(const Attributes&) {}

  void operator()(Call& call) const {
    const auto logits = call.matrix<T>(0);
    const int64_t rows = logits.rows(), width = logits.columns();
    const int32_t* const targets = targetsOf(call, 1, rows, width);
    const float* const logz = call.elements<float>(2, rows);
    const float* const entropy = call.elements<float>(3, rows, true);
    const float* const dLogprob = call.elements<float>(4, rows);
    const float* const dEntropy = call.elements<float>(5, rows, true);
    expect(dEntropy == nullptr || entropy != nullptr, "entropy: expected values, since dentropy has them");
    T* const dLogits = call.outputOver<T>(0, logits.shape, 0);
    parallelFor(rows, grainOfRows(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* const x = logits.data + row * width;
        T* const to = dLogits + row * width;
        const float dl = dLogprob[row];
        const float dh = dEntropy == nullptr ? 0 : dEntropy[row];
        const float offset = dEntropy == nullptr ? 0 : entropy[row];
        const auto gradient = [&](Floats logit) {
          const Floats logp = logit - logz[row];
          return exponential(logp) * (-dl - dh * (logp + offset));
        };
        const auto plain = [&](Floats logit) { return exponential(logit - logz[row]) * -dl; };
        // Before the logits may be written over.
        const Floats target = splat(toFloat(x[targets[row]]));
        if (dEntropy != nullptr) {
          eachVector(width, [&](int64_t i, auto lanes) { lanes.put(to + i, gradient(lanes.get(x + i))); });
          storePart(to + targets[row], gradient(target) + dl, 1);
        } else {
          eachVector(width, [&](int64_t i, auto lanes) { lanes.put(to + i, plain(lanes.get(x + i))); });
          storePart(to + targets[row], plain(target) + dl, 1);
        }
      }
    });
  }
};

const Registration registration([] {
  addBothTypes<LogitStats>("WeirLogitStats");
  addBothTypes<LogitGrad>("WeirLogitGrad");
});

}  // namespace
}  // namespace weir
