// The activation cache: what decoding computed and training reads again. WeirStoreActivations writes the activations of one decode
// step into a block; WeirLoadActivations gathers those of a micro-batch from the blocks of many calls.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

// block[step] of [steps, R, Σ widths] becomes the K parts [R, width], side by side; later steps may hold anything. For step 0 the block
// may be [0].
class StoreActivations {
 public:
  explicit StoreActivations(const Attributes& attributes)
      : count_(attributes.integer("K")), steps_(attributes.integer("steps")) {}

  void operator()(Call& call) const {
    const auto block = call.input<float>(0);
    const int32_t step = *call.elements<int32_t>(1, 1);
    expect(step >= 0 && step < steps_, "step " + std::to_string(step) + " is outside the block");
    std::vector<Input<float>> parts;
    int64_t width = 0;
    for (int64_t k = 0; k < count_; ++k) {
      parts.push_back(call.matrix<float>(static_cast<int>(2 + k)));
      expect(parts.back().rows() == parts.front().rows(), "the parts have different numbers of rows");
      width += parts.back().columns();
    }
    const int64_t rows = parts.front().rows();
    const Shape shape{steps_, rows, width};
    expect(block.shape == shape || (step == 0 && block.count == 0), "the parts do not fill the block's rows");
    float* const next = call.outputOver<float>(0, shape, 0);
    float* const to = next + step * rows * width;
    if (next != block.data) std::copy(block.data, block.data + (to - next), next);
    parallelFor(rows, grainOfRows(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* at = to + row * width;
        for (const Input<float>& part : parts) {
          const int64_t columns = part.columns();
          at = std::copy_n(part.data + row * columns, columns, at);
        }
      }
    });
  }

 private:
  int64_t count_, steps_;
};

// Columns [from, from + width) of the rows `index` counts through all blocks [B, R, W], one block after another.
class LoadActivations {
 public:
  explicit LoadActivations(const Attributes& attributes)
      : count_(attributes.integer("K")), from_(attributes.integer("from")), width_(attributes.integer("width")) {}

  void operator()(Call& call) const {
    const auto index = call.input<int32_t>(0);
    std::vector<const float*> rows;
    int64_t stride = 0;
    for (int64_t k = 0; k < count_; ++k) {
      const auto block = call.input<float>(static_cast<int>(1 + k));
      expect(!block.shape.empty(), "a block has no axes");
      const int64_t columns = block.shape.back();
      expect(k == 0 || columns == stride, "the blocks' rows have different widths");
      stride = columns;
      expect(from_ >= 0 && width_ > 0 && from_ + width_ <= columns, "columns beyond the blocks' were asked for");
      for (int64_t at = 0; at < block.count; at += columns) rows.push_back(block.data + at + from_);
    }
    for (int64_t i = 0; i < index.count; ++i) {
      expect(index.data[i] >= 0 && index.data[i] < int64_t(rows.size()),
             "row " + std::to_string(index.data[i]) + " of " + std::to_string(rows.size()) + " was asked for");
    }
    float* const loaded = call.output<float>(0, {index.count, width_});
    parallelFor(index.count, grainOfRows(width_), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) std::copy_n(rows[index.data[i]], width_, loaded + i * width_);
    });
  }

 private:
  int64_t count_, from_, width_;
};

const Registration registration([] {
  addKernel<StoreActivations>("WeirStoreActivations", {});
  addKernel<LoadActivations>("WeirLoadActivations", {});
});

}  // namespace
}  // namespace weir
