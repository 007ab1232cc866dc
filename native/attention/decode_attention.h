// Attention of one new token per row while decoding: rotates queries and keys, appends keys and values to the running block,
// attends to the prompt's prefix, to the row's earlier columns and to the block. Softmax in float32.
#pragma once

#include <cstdint>

#include "core/scalars.h"

namespace weir {

struct DecodeShape {
  int64_t prompts, kvHeads, group, headsPerKv, headDim;
  int64_t prefixLength;  // Tp
  int64_t columns;       // Tc, of the rows' own cache
  int64_t blockColumns;  // columns of the block
};

template <class T>
struct DecodeCaches {
  const T* prefixK;               // [P·kv, Tp, dh]
  const T* prefixV;               // [P·kv, Tp, dh]
  const int32_t* prefixLengths;   // [P]
  const T* ownK;                  // [P·kv·G, Tc, dh]
  const T* ownV;                  // [P·kv·G, Tc, dh]
  const int32_t* first;           // [P], first column of the own cache that is the prompt's
  int32_t used;                   // columns of the own cache in use
  int32_t step;                   // place of the new token in the block
  T* blockK;                      // [P·kv·G, block, dh], written at `step`
  T* blockV;                      // [P·kv·G, block, dh], written at `step`
};

// qkv [P·G, (kv·headsPerKv + 2·kv)·dh], queries scaled; cos, sin [P, dh]; o [P·G, kv·headsPerKv·dh]; lse [P·G, kv·headsPerKv], the logarithm
// of each sum.
template <class T>
void decodeAttention(const DecodeShape& shape, const float* qkv, const float* cos, const float* sin,
                     const DecodeCaches<T>& caches, float* o, float* lse);

}  // namespace weir
