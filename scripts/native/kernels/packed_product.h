// Products of few rows with a matrix that was packed beforehand: decoding, where a row count of one to some dozens meets
// matrices whose size is the whole cost. y[M, out] = x[M, in] · wᵀ + bias, accumulated in float32.
#pragma once

#include <cstdint>

#include "scalars.h"

namespace weir {

// Columns of one panel; a panel holds its columns for every input, two inputs side by side in bfloat16.
constexpr int64_t kPanelColumns = 64;

// Elements of a packed [out, in] matrix: whole panels, inputs rounded up to two.
inline int64_t packedElements(int64_t out, int64_t in) {
  return (out + kPanelColumns - 1) / kPanelColumns * kPanelColumns * ((in + 1) / 2 * 2);
}

// w [out, in] → panels [out / 64][in / 2][64][2]; missing rows and columns are zero. Float32 is packed as [in][64].
template <class T>
void packMatrix(const float* w, int64_t out, int64_t in, T* packed);

// x [rows, in], bias [out] or null, y [rows, out].
template <class T>
void packedProduct(const float* x, int64_t rows, int64_t in, const T* packed, int64_t out, const float* bias, float* y);

}  // namespace weir
