#include "gemm/packed_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "gemm/blocks.h"
#include "simd/floats.h"
#include "core/parallel.h"

namespace weir {
namespace {

using gemm::kPanel;
static_assert(kPackedColumns % kPanel == 0, "packed columns are whole panels");

constexpr int64_t roundedInputs(int64_t in) { return (in + 1) / 2 * 2; }

// Sums go to y with the bias of their column, times silu of the gate; to `plain` without that factor.
struct Finished {
  float* y;
  float* plain;  // like y; null: not wanted
  int64_t stride;
  const float* bias;  // null: none
  const float* gate;  // like y; null: none

  WEIR_INLINE Lanes start(int64_t, int64_t, int64_t) const { return splatLanes(0.0f); }
  WEIR_INLINE void finish(int64_t row, int64_t column, Lanes sum, int64_t count) const {
    if (bias != nullptr) sum = add(sum, loadNumbers(bias + column, count));
    float* const to = y + row * stride + column;
    storeNumbers(to, sum, count);
    if (plain != nullptr) storeNumbers(plain + row * stride + column, sum, count);
    if (gate == nullptr) return;
    const float* const gates = gate + row * stride + column;
    eachVector(std::min<int64_t>(count, kLanes), [&](int64_t i, auto lanes) {
      const Floats g = lanes.get(gates + i);
      lanes.put(to + i, g * sigmoid(g) * lanes.get(to + i));
    });
  }
};

}  // namespace

template <class T>
void packMatrix(const float* w, int64_t out, int64_t in, T* packed) {
  constexpr int64_t step = sizeof(T) == 2 ? 2 : 1;
  const int64_t inputs = roundedInputs(in);
  const int64_t panels = packedElements(out, in) / (kPanel * inputs);
  parallelFor(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      T* panel = packed + p * kPanel * inputs;
      for (int64_t c = 0; c < kPanel; ++c) {
        const int64_t row = p * kPanel + c;
        for (int64_t i = 0; i < inputs; ++i) {
          const float value = row < out && i < in ? w[row * in + i] : 0.0f;
          panel[i / step * step * kPanel + step * c + i % step] = fromFloat<T>(value);
        }
      }
    }
  });
}

template <class T>
void packedProduct(const float* x, int64_t rows, int64_t in, const T* packed, int64_t out, const float* bias,
                   const float* gate, float* y, float* plain) {
  const int64_t inputs = roundedInputs(in);
  const void* factors = x;
  if (!std::is_same_v<T, float> || in != inputs) {
    static thread_local std::vector<T> scratch;
    scratch.resize(static_cast<size_t>(rows * inputs));
    for (int64_t r = 0; r < rows; ++r) {
      T* own = scratch.data() + r * inputs;
      for (int64_t i = 0; i < in; ++i) own[i] = fromFloat<T>(x[r * in + i]);
      for (int64_t i = in; i < inputs; ++i) own[i] = fromFloat<T>(0.0f);
    }
    factors = scratch.data();
  }
  const int64_t words = inputs * int64_t(sizeof(T)) / 4;
  const auto* const left = static_cast<const Word<T>*>(factors);
  const int64_t panels = (out + kPanel - 1) / kPanel;
  parallelFor(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPanel, columns = std::min(kPanel, out - first);
      const auto* panel = reinterpret_cast<const Word<T>*>(packed + first * inputs);
      const Finished step{y + first, plain == nullptr ? nullptr : plain + first, out,
                          bias == nullptr ? nullptr : bias + first, gate == nullptr ? nullptr : gate + first};
      gemm::fewRowsOfPanel(left, rows, words, panel, columns, step);
    }
  });
}

template void packMatrix<float>(const float*, int64_t, int64_t, float*);
template void packMatrix<bfloat16>(const float*, int64_t, int64_t, bfloat16*);
template void packedProduct<float>(const float*, int64_t, int64_t, const float*, int64_t, const float*, const float*,
                                   float*, float*);
template void packedProduct<bfloat16>(const float*, int64_t, int64_t, const bfloat16*, int64_t, const float*, const float*,
                                  float*, float*);

}  // namespace weir
