// Products of few rows with a matrix that was packed beforehand: decoding, where a row count of one to some dozens meets
// matrices whose size is the whole cost. y[M, out] = (x[M, in] · wᵀ + bias) · silu(gate), accumulated in float32; without a
// gate that factor is left out.
#pragma once

#include <cstdint>

#include "core/scalars.h"

namespace weir {

// Columns are rounded up to a multiple of this, whatever the width of a panel is on this processor.
constexpr int64_t kPackedColumns = 64;

// Elements of a packed [out, in] matrix: inputs are rounded up to two.
inline int64_t packedElements(int64_t out, int64_t in) {
  return (out + kPackedColumns - 1) / kPackedColumns * kPackedColumns * ((in + 1) / 2 * 2);
}

// w [out, in] → panels of C columns, [out / C][in / 2][C][2]; missing rows and columns are zero. Float32 is packed as
// [in][C]. C is what the processor's registers hold (attention/packing.h).
template <class T>
void packMatrix(const float* w, int64_t out, int64_t in, T* packed);

// x [rows, in], bias [out] or null, gate [rows, out] or null, y [rows, out]. `plain` [rows, out], or null, gets what the gate's
// factor was left out of.
template <class T>
void packedProduct(const float* x, int64_t rows, int64_t in, const T* packed, int64_t out, const float* bias,
                   const float* gate, float* y, float* plain);

}  // namespace weir
