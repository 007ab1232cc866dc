// A matrix transposed and cast in one pass: x [a, b] → [b, a] of T.
#include <algorithm>

#include "parallel.h"
#include "registry.h"

namespace weir {
namespace {

// A tile and its copy stay in the first cache.
constexpr int64_t kTile = 64;

template <class T>
struct CastTranspose {
  explicit CastTranspose(const Attributes&) {}

  void operator()(Call& call) const {
    const auto x = call.matrix<float>(0);
    const int64_t rows = x.rows(), columns = x.columns();
    T* const y = call.output<T>(0, {columns, rows});
    parallelFor((columns + kTile - 1) / kTile, grainOfRows(kTile * rows), [&](int64_t begin, int64_t end) {
      for (int64_t left = begin * kTile; left < std::min(columns, end * kTile); left += kTile) {
        for (int64_t top = 0; top < rows; top += kTile) {
          turnTile(x.data, y, rows, columns, top, left);
        }
      }
    });
  }

 private:
  static void turnTile(const float* x, T* y, int64_t rows, int64_t columns, int64_t top, int64_t left) {
    const int64_t high = std::min(kTile, rows - top), wide = std::min(kTile, columns - left);
    // One more column than it holds, so that a column's elements fall into different sets of the cache.
    float turned[kTile][kTile + 1];
    for (int64_t i = 0; i < high; ++i) {
      const float* const from = x + (top + i) * columns + left;
      for (int64_t j = 0; j < wide; ++j) turned[j][i] = from[j];
    }
    for (int64_t j = 0; j < wide; ++j) {
      T* const to = y + (left + j) * rows + top;
      eachVector(high, [&](int64_t i, auto lanes) { lanes.put(to + i, lanes.get(&turned[j][i])); });
    }
  }
};

const Registration registration([] {
  registerOperation("WeirCastTranspose", {"x: float"}, {"y: T"}, {kTypes});
  registerBothTypes<CastTranspose>("WeirCastTranspose");
});

}  // namespace
}  // namespace weir
