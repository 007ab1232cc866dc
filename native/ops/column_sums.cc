// WeirColumnSums: Σ over the rows of a matrix in float32, as gradients of biases are.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

template <class T>
struct ColumnSums {
  explicit ColumnSums(const Attributes&) {}
  void operator()(Call& call) const {
    const auto x = call.matrix<T>(0);
    const int64_t columns = x.columns();
    float* sums = call.output<float>(0, {columns});
    const Blocks blocks = blocksOf(x.rows());
    std::vector<float> parts(static_cast<size_t>(blocks.count * columns), 0.0f);
    parallelFor(blocks.count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        float* part = parts.data() + block * columns;
        const int64_t last = std::min(x.rows(), (block + 1) * blocks.rows);
        for (int64_t row = block * blocks.rows; row < last; ++row) {
          eachVector(columns, [&](int64_t i, auto lanes) {
            lanes.put(part + i, lanes.get(part + i) + lanes.get(x.data + row * columns + i));
          });
        }
      }
    });
    for (int64_t i = 0; i < columns; ++i) sums[i] = 0.0f;
    for (int64_t block = 0; block < blocks.count; ++block) {
      for (int64_t i = 0; i < columns; ++i) sums[i] += parts[block * columns + i];
    }
  }
};

const Registration registration([] {
  addBothTypes<ColumnSums>("WeirColumnSums");
});

}  // namespace
}  // namespace weir
