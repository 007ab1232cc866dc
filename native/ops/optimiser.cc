// Sums of squares and AdamW steps over lists of tensors. Compiled without fused multiply-adds: every product and sum is
// rounded as TensorFlow's separate operations round it, so a step's bits do not depend on which of them took it.
#include <algorithm>

#include "core/parallel.h"
#include "core/operation.h"

namespace weir {
namespace {

// Elements of one tile; also how many squares are summed in float before double takes over.
constexpr int64_t kTile = 1 << 14;

struct Tile {
  int64_t tensor;
  int64_t begin;
  int64_t count;
};

// All elements of tensors of these sizes, in order.
std::vector<Tile> tilesOf(const std::vector<int64_t>& sizes) {
  std::vector<Tile> tiles;
  for (size_t tensor = 0; tensor < sizes.size(); ++tensor) {
    for (int64_t begin = 0; begin < sizes[tensor]; begin += kTile) {
      tiles.push_back({static_cast<int64_t>(tensor), begin, std::min(kTile, sizes[tensor] - begin)});
    }
  }
  return tiles;
}

// Σx² of each tensor: float within a lane's part of a tile, double beyond.
class SquaredSums {
 public:
  explicit SquaredSums(const Attributes& attributes) : tensors_(attributes.integer("K")) {}

  void operator()(Call& call) const {
    std::vector<const float*> data;
    std::vector<int64_t> sizes;
    for (int64_t k = 0; k < tensors_; ++k) {
      const auto x = call.input<float>(static_cast<int>(k));
      data.push_back(x.data);
      sizes.push_back(x.count);
    }
    const std::vector<Tile> tiles = tilesOf(sizes);
    std::vector<double> sums(tiles.size());
    parallelFor(static_cast<int64_t>(tiles.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const float* const x = data[tiles[t].tensor] + tiles[t].begin;
        // Four sums at once hide the latency of an addition.
        Floats squares[4] = {};
        int64_t i = 0;
        for (; i + 4 * kFloats <= tiles[t].count; i += 4 * kFloats) {
          for (int j = 0; j < 4; ++j) squares[j] += load(x + i + j * kFloats) * load(x + i + j * kFloats);
        }
        eachVector(tiles[t].count - i, [&](int64_t rest, auto lanes) {
          squares[0] += lanes.get(x + i + rest) * lanes.get(x + i + rest);
        });
        for (const Floats& part : squares) sums[t] += sumLanes(part);
      }
    });
    std::vector<double> totals(tensors_);
    for (size_t t = 0; t < tiles.size(); ++t) totals[tiles[t].tensor] += sums[t];
    float* const out = call.output<float>(0, {tensors_});
    for (int64_t k = 0; k < tensors_; ++k) out[k] = static_cast<float>(totals[k]);
  }

 private:
  int64_t tensors_;
};

// m' = β₁·m + (1−β₁)·c·g, v' = β₂·v + (1−β₂)·c²·g², w' = w·shrink − rate·m'/(√v'·root + ε).
class AdamW {
 public:
  explicit AdamW(const Attributes& attributes) : tensors_(attributes.integer("K")) {}

  void operator()(Call& call) const {
    const int k = static_cast<int>(tensors_);
    const float* const scalars = call.elements<float>(4 * k, 8);
    const int32_t* const decays = call.elements<int32_t>(4 * k + 1, k);
    std::vector<Parameter> parameters;
    std::vector<int64_t> sizes;
    for (int i = 0; i < k; ++i) {
      const auto w = call.input<float>(i);
      Parameter each;
      each.w = w.data;
      each.m = call.elements<float>(k + i, w.count);
      each.v = call.elements<float>(2 * k + i, w.count);
      each.g = call.elements<float>(3 * k + i, w.count);
      each.nextW = call.outputOver<float>(i, w.shape, i);
      each.nextM = call.outputOver<float>(k + i, w.shape, k + i);
      each.nextV = call.outputOver<float>(2 * k + i, w.shape, 2 * k + i);
      each.shrink = decays[i] != 0 ? scalars[7] : 1.0f;
      parameters.push_back(each);
      sizes.push_back(w.count);
    }
    const std::vector<Tile> tiles = tilesOf(sizes);
    parallelFor(static_cast<int64_t>(tiles.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) step(parameters[tiles[t].tensor], tiles[t], scalars);
    });
  }

 private:
  struct Parameter {
    const float *w, *m, *v, *g;
    float *nextW, *nextM, *nextV;
    float shrink;
  };

  static void step(const Parameter& p, const Tile& tile, const float* scalars) {
    const float keep1 = scalars[0], take1 = scalars[1], keep2 = scalars[2], take2 = scalars[3];
    const float root = scalars[4], epsilon = scalars[5], rate = scalars[6];
    eachVector(tile.count, [&](int64_t i, auto lanes) {
      const int64_t at = tile.begin + i;
      const Floats g = lanes.get(p.g + at);
      const Floats m = lanes.get(p.m + at) * keep1 + g * take1;
      const Floats v = lanes.get(p.v + at) * keep2 + g * g * take2;
      const Floats denominator = squareRoot(v) * root + epsilon;
      lanes.put(p.nextM + at, m);
      lanes.put(p.nextV + at, v);
      lanes.put(p.nextW + at, lanes.get(p.w + at) * p.shrink - m / denominator * rate);
    });
  }

  int64_t tensors_;
};

const Registration registration([] {
  addKernel<SquaredSums>("WeirSquaredSums", {});
  addKernel<AdamW>("WeirAdamW", {});
});

}  // namespace
}  // namespace weir
