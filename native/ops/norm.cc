// RMSNorm of rows, alone and after a residual sum, and its gradient: y = x·r·w with r = (mean(x²) + ε)^(−½).
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

float reciprocalRoot(const float* x, int64_t width, float epsilon) {
  Floats squares{};
  eachVector(width, [&](int64_t i, auto lanes) {
    const Floats v = lanes.get(x + i);
    squares += v * v;
  });
  return 1.0f / std::sqrt(sumLanes(squares) / static_cast<float>(width) + epsilon);
}

template <class T>
void scaleRow(const float* x, float r, const float* w, T* n, int64_t width) {
  eachVector(width, [&](int64_t i, auto lanes) { lanes.put(n + i, lanes.get(x + i) * r * lanes.get(w + i)); });
}

template <class T>
class RmsNorm {
 public:
  explicit RmsNorm(const Attributes& attributes) : epsilon_(attributes.real("epsilon")) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<float>(0);
    const int64_t width = x.columns();
    const float* const w = call.elements<float>(1, width);
    T* const n = call.output<T>(0, x.shape);
    float* const r = call.output<float>(1, {x.rows(), 1});
    parallelFor(x.rows(), grainOfRows(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* const from = x.data + row * width;
        r[row] = reciprocalRoot(from, width, epsilon_);
        scaleRow(from, r[row], w, n + row * width, width);
      }
    });
  }

 private:
  float epsilon_;
};

template <class T>
class AddRmsNorm {
 public:
  explicit AddRmsNorm(const Attributes& attributes) : epsilon_(attributes.real("epsilon")) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<float>(0);
    const int64_t width = x.columns();
    const T* const y = call.elements<T>(1, x.count);
    const float* const bias = call.elements<float>(2, width, true);
    const float* const w = call.elements<float>(3, width);
    float* const sum = call.outputOver<float>(0, x.shape, 0);
    T* const n = call.output<T>(1, x.shape);
    float* const r = call.output<float>(2, {x.rows(), 1});
    parallelFor(x.rows(), grainOfRows(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * width;
        eachVector(width, [&](int64_t i, auto lanes) {
          Floats total = lanes.get(x.data + at + i) + lanes.get(y + at + i);
          if (bias != nullptr) total += lanes.get(bias + i);
          lanes.put(sum + at + i, total);
        });
        r[row] = reciprocalRoot(sum + at, width, epsilon_);
        scaleRow(sum + at, r[row], w, n + at, width);
      }
    });
  }

 private:
  float epsilon_;
};

// dx = residual + r·(dy·w − x̂·mean(dy·w·x̂)) with x̂ = x·r and dy = Σ dns; dw = Σ_rows dy·x̂.
template <class T>
class RmsNormGrad {
 public:
  explicit RmsNormGrad(const Attributes& attributes) : parts_(attributes.integer("K")) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<float>(0);
    const int64_t width = x.columns();
    const float* const r = call.elements<float>(1, x.rows());
    const float* const w = call.elements<float>(2, width);
    const float* const residual = call.elements<float>(3, x.count, true);
    std::vector<const T*> parts(parts_);
    for (int64_t k = 0; k < parts_; ++k) parts[k] = call.elements<T>(static_cast<int>(4 + k), x.count);
    float* const dx = residual == nullptr ? call.output<float>(0, x.shape) : call.outputOver<float>(0, x.shape, 3);
    float* const dw = call.output<float>(1, {width});

    const Blocks blocks = blocksOf(x.rows());
    const std::unique_ptr<float[]> sums(new float[blocks.count * width]());
    parallelFor(blocks.count, grainOfRows(blocks.rows * width), [&](int64_t begin, int64_t end) {
      const std::unique_ptr<float[]> dy(new float[width]);
      for (int64_t row = begin * blocks.rows; row < std::min(end * blocks.rows, x.rows()); ++row) {
        const int64_t at = row * width;
        float* const sum = sums.get() + row / blocks.rows * width;
        Floats dot{};
        eachVector(width, [&](int64_t i, auto lanes) {
          Floats total = lanes.get(parts[0] + at + i);
          for (int64_t k = 1; k < parts_; ++k) total += lanes.get(parts[k] + at + i);
          const Floats product = total * (lanes.get(x.data + at + i) * r[row]);
          lanes.put(dy.get() + i, total);
          lanes.put(sum + i, lanes.get(sum + i) + product);
          dot += product * lanes.get(w + i);
        });
        const float mean = sumLanes(dot) / static_cast<float>(width);
        eachVector(width, [&](int64_t i, auto lanes) {
          const Floats unit = lanes.get(x.data + at + i) * r[row];
          Floats d = (lanes.get(dy.get() + i) * lanes.get(w + i) - unit * mean) * r[row];
          if (residual != nullptr) d += lanes.get(residual + at + i);
          lanes.put(dx + at + i, d);
        });
      }
    });
    eachVector(width, [&](int64_t i, auto lanes) {
      Floats total{};
      for (int64_t block = 0; block < blocks.count; ++block) total += lanes.get(sums.get() + block * width + i);
      lanes.put(dw + i, total);
    });
  }

 private:
  int64_t parts_;
};

const Registration registration([] {
  addBothTypes<RmsNorm>("WeirRmsNorm");
  addBothTypes<AddRmsNorm>("WeirAddRmsNorm");
  addBothTypes<RmsNormGrad>("WeirRmsNormGrad");
});

}  // namespace
}  // namespace weir
