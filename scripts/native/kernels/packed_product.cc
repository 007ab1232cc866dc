#include "packed_product.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace weir {
namespace {

// Rows of one register block.
constexpr int64_t kBlockRows = 6;
// Panels that one thread takes at a time.
constexpr int64_t kPanelGrain = 1;

constexpr int64_t roundedInputs(int64_t in) { return (in + 1) / 2 * 2; }

#if defined(__AVX512F__)

template <int ROWS>
inline void storeBlock(const __m512 (&sum)[ROWS][4], float* y, int64_t stride, int64_t columns, const float* bias) {
  for (int v = 0; v < 4; ++v) {
    const int64_t left = columns - 16 * v;
    if (left <= 0) return;
    const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __m512 offset = bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, bias + 16 * v);
    for (int r = 0; r < ROWS; ++r) {
      _mm512_mask_storeu_ps(y + r * stride + 16 * v, mask, _mm512_add_ps(sum[r][v], offset));
    }
  }
}

template <int ROWS>
inline void block(const float* x, int64_t in, const float* panel, float* y, int64_t stride, int64_t columns,
                  const float* bias) {
  __m512 sum[ROWS][4];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < 4; ++v) sum[r][v] = _mm512_setzero_ps();
  for (int64_t i = 0; i < in; ++i) {
    const float* w = panel + i * kPanelColumns;
    const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
    const __m512 w2 = _mm512_loadu_ps(w + 32), w3 = _mm512_loadu_ps(w + 48);
    for (int r = 0; r < ROWS; ++r) {
      const __m512 a = _mm512_set1_ps(x[r * in + i]);
      sum[r][0] = _mm512_fmadd_ps(a, w0, sum[r][0]);
      sum[r][1] = _mm512_fmadd_ps(a, w1, sum[r][1]);
      sum[r][2] = _mm512_fmadd_ps(a, w2, sum[r][2]);
      sum[r][3] = _mm512_fmadd_ps(a, w3, sum[r][3]);
    }
  }
  storeBlock<ROWS>(sum, y, stride, columns, bias);
}

#if defined(__AVX512BF16__)
template <int ROWS>
inline void block(const Bf16* x, int64_t in, const Bf16* panel, float* y, int64_t stride, int64_t columns,
                  const float* bias) {
  __m512 sum[ROWS][4];
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < 4; ++v) sum[r][v] = _mm512_setzero_ps();
  for (int64_t i = 0; i < in; i += 2) {
    const Bf16* w = panel + i * kPanelColumns;
    __m512bh b[4];
    for (int v = 0; v < 4; ++v) b[v] = (__m512bh)_mm512_loadu_si512(w + 32 * v);
    for (int r = 0; r < ROWS; ++r) {
      int32_t pair;
      std::memcpy(&pair, x + r * in + i, sizeof(pair));
      const __m512bh a = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < 4; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], a, b[v]);
    }
  }
  storeBlock<ROWS>(sum, y, stride, columns, bias);
}
#define WEIR_NARROW_BLOCK 1
#endif

#endif

// The same block without vector registers of that kind.
template <int ROWS, class X, class T>
inline void plainBlock(const X* x, int64_t in, const T* panel, float* y, int64_t stride, int64_t columns,
                       const float* bias) {
  constexpr int64_t step = sizeof(T) == 2 ? 2 : 1;
  float sum[ROWS][kPanelColumns] = {};
  for (int64_t i = 0; i < in; i += step) {
    for (int64_t s = 0; s < step; ++s) {
      for (int r = 0; r < ROWS; ++r) {
        const float a = valueOf(x[r * in + i + s]);
        for (int64_t c = 0; c < kPanelColumns; ++c) sum[r][c] += a * valueOf(panel[i * kPanelColumns + step * c + s]);
      }
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    for (int64_t c = 0; c < columns; ++c) y[r * stride + c] = sum[r][c] + (bias == nullptr ? 0.0f : bias[c]);
  }
}

template <int ROWS, class T>
inline void anyBlock(const T* x, int64_t in, const T* panel, float* y, int64_t stride, int64_t columns,
                     const float* bias) {
#if defined(WEIR_NARROW_BLOCK)
  block<ROWS>(x, in, panel, y, stride, columns, bias);
#elif defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) block<ROWS>(x, in, panel, y, stride, columns, bias);
  else plainBlock<ROWS>(x, in, panel, y, stride, columns, bias);
#else
  plainBlock<ROWS>(x, in, panel, y, stride, columns, bias);
#endif
}

template <class T>
void rowsOfPanel(const T* x, int64_t rows, int64_t in, const T* panel, float* y, int64_t stride, int64_t columns,
                 const float* bias) {
  // Blocks of nearly equal height: 32 rows are 6 + 6 + 5 + 5 + 5 + 5, never 6 × 5 + 2.
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  int64_t row = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t height = (rows - row + blocks - b - 1) / (blocks - b);
    const T* from = x + row * in;
    float* to = y + row * stride;
    switch (height) {
      case 1: anyBlock<1>(from, in, panel, to, stride, columns, bias); break;
      case 2: anyBlock<2>(from, in, panel, to, stride, columns, bias); break;
      case 3: anyBlock<3>(from, in, panel, to, stride, columns, bias); break;
      case 4: anyBlock<4>(from, in, panel, to, stride, columns, bias); break;
      case 5: anyBlock<5>(from, in, panel, to, stride, columns, bias); break;
      default: anyBlock<6>(from, in, panel, to, stride, columns, bias); break;
    }
    row += height;
  }
}

}  // namespace

template <class T>
void packMatrix(const float* w, int64_t out, int64_t in, T* packed) {
  constexpr int64_t step = sizeof(T) == 2 ? 2 : 1;
  const int64_t inputs = roundedInputs(in);
  const int64_t panels = (out + kPanelColumns - 1) / kPanelColumns;
  parallelFor(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      T* panel = packed + p * kPanelColumns * inputs;
      for (int64_t c = 0; c < kPanelColumns; ++c) {
        const int64_t row = p * kPanelColumns + c;
        for (int64_t i = 0; i < inputs; ++i) {
          const float value = row < out && i < in ? w[row * in + i] : 0.0f;
          panel[i / step * step * kPanelColumns + step * c + i % step] = fromFloat<T>(value);
        }
      }
    }
  });
}

template <class T>
void packedProduct(const float* x, int64_t rows, int64_t in, const T* packed, int64_t out, const float* bias,
                   float* y) {
  const int64_t inputs = roundedInputs(in);
  static thread_local std::vector<T> scratch;
  scratch.resize(static_cast<size_t>(rows * inputs));
  T* own = scratch.data();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < in; ++i) own[r * inputs + i] = fromFloat<T>(x[r * in + i]);
    for (int64_t i = in; i < inputs; ++i) own[r * inputs + i] = fromFloat<T>(0.0f);
  }
  const int64_t panels = (out + kPanelColumns - 1) / kPanelColumns;
  parallelFor(panels, kPanelGrain, [&, own](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPanelColumns;
      const int64_t columns = std::min(kPanelColumns, out - first);
      rowsOfPanel<T>(own, rows, inputs, packed + first * inputs, y + first, out, columns,
                     bias == nullptr ? nullptr : bias + first);
    }
  });
}

template void packMatrix<float>(const float*, int64_t, int64_t, float*);
template void packMatrix<Bf16>(const float*, int64_t, int64_t, Bf16*);
template void packedProduct<float>(const float*, int64_t, int64_t, const float*, int64_t, const float*, float*);
template void packedProduct<Bf16>(const float*, int64_t, int64_t, const Bf16*, int64_t, const float*, float*);

}  // namespace weir
