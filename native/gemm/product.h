// Interface of the large matrix products: C = A . B for float and bfloat16, at the speed of the
// machine's multipliers. Both sides may come transposed; sums are float32.
//
// B is packed into panels and read through the second-level cache. A is packed in stripes if it is transposed, and where
// register blocks are narrow; else it is read where it lies. With A as it is, one register block covers all of the inner
// dimension and C is written once; with A transposed, a long inner dimension goes in parts, which C adds up.
//
// Invariants:
//   - The sum of one entry runs in order of the inner dimension, whatever the threads and shapes.
//   - NaN or infinity in an input makes the outputs that depend on it non-finite.
#pragma once

#include <cstdint>

#include "simd/bfloat16.h"

namespace weir {

/** C[rows, columns], summed over inner numbers. All sizes are at least 1. */
struct ProductShape {
  int64_t rows;
  int64_t columns;
  int64_t inner;
  bool transposeA;  // A lies as [inner, rows]
  bool transposeB;  // B lies as [columns, inner]
};

/** Names of the types whose products are worth taking here on this processor: "", "float32" or "float32,bfloat16". */
const char* productTypes();

/** C = A . B (+ plus, where it is not null; it may be C itself). S is float or, with bfloat16 inputs, bfloat16. */
template <class T, class S>
void product(const ProductShape& shape, const T* a, const T* b, const float* plus, S* c);

extern template void product<float, float>(const ProductShape&, const float*, const float*, const float*, float*);
extern template void product<bfloat16, float>(const ProductShape&, const bfloat16*, const bfloat16*, const float*,
                                              float*);
extern template void product<bfloat16, bfloat16>(const ProductShape&, const bfloat16*, const bfloat16*, const float*,
                                                 bfloat16*);

}  // namespace weir
