// Interface of the attention kernels: causal grouped-query attention over a row's own keys
// and, optionally, a prefix shared by many rows. Forward and backward, for float32 and bfloat16.
//
// Letters in the layouts:
//   P prompts, kv key/value heads, G completions (rows) per prompt, headsPerKv query heads per KV head,
//   T positions per row, dh numbers per head, Tp prefix positions with padding.
//
// Query t of row (p, kv, g, s) sees the prefix positions j < prefixLengths[p] and the row's own
// positions j <= t:
//   S[t, j] = q[t] . k[j]        (q comes already scaled by 1/sqrt(dh))
//   o[t]    = sum_j exp(S[t, j] - lse[t]) v[j],    lse[t] = log sum_j exp(S[t, j])
//
// Invariants:
//   - Every result is the same, bit for bit, whatever the number of threads.
//   - No buffer grows with T*T or T*Tp; packed keys take O((G*T + Tp)*dh) per (p, kv).
//   - Prefix positions at and beyond prefixLengths[p] are never read.
//   - NaN or infinity in an input makes the outputs that depend on it non-finite.
#pragma once

#include <cstdint>

#include "simd/bfloat16.h"

namespace weir {

/** Sizes of one attention call. Each is at least 1, save prefixLength (Tp), which may be 0; headDim is even. */
struct AttentionShape {
  int64_t prompts;       // P
  int64_t kvHeads;       // kv
  int64_t group;         // G
  int64_t headsPerKv;    // query heads per KV head
  int64_t length;        // T
  int64_t headDim;       // dh, even, at least 2
  int64_t prefixLength;  // Tp; with 0 the prefix pointers may be null
};

/** What the forward pass reads, and the backward pass again. */
template <class T>
struct AttentionInputs {
  const T* q;                    // [P, kv, G, headsPerKv, T, dh], scaled by 1/sqrt(dh)
  const T* k;                    // [P, kv, G, T, dh]
  const T* v;                    // [P, kv, G, T, dh]
  const T* kp;                   // [P, kv, Tp, dh]; null without a prefix
  const T* vp;                   // [P, kv, Tp, dh]; null without a prefix
  const int32_t* prefixLengths;  // [P], 0 <= prefixLengths[p] <= Tp; null means Tp for every prompt
};

/** Where the backward pass writes; everything is overwritten. */
template <class T>
struct AttentionGradients {
  T* dq;       // [P, kv, G, headsPerKv, T, dh], for the scaled q
  float* dk;   // [P, kv, G, T, dh]
  float* dv;   // [P, kv, G, T, dh]
  float* dkp;  // [P, kv, Tp, dh], zero at the padding; null without a prefix
  float* dvp;  // [P, kv, Tp, dh], zero at the padding; null without a prefix
};

/**
 * Forward pass. T is float or bfloat16; products of bfloat16 numbers are summed in float32, and
 * the softmax is float32 in both.
 *
 *   o   [P, kv, G, headsPerKv, T, dh]  overwritten
 *   lse [P, kv, G, headsPerKv, T]      overwritten; natural logarithm
 */
template <class T>
void attentionForward(const AttentionShape& shape, const AttentionInputs<T>& inputs, T* o, float* lse);

/**
 * Backward pass, from the forward's inputs and outputs and the gradient dO of o:
 *
 *   W[t, j]  = exp(S[t, j] - lse[t]),   delta[t] = dO[t] . o[t]
 *   dS[t, j] = W[t, j] (dO[t] . v[j] - delta[t])
 *   dq[t] = sum_j dS[t, j] k[j],   dk[j] = sum_t dS[t, j] q[t],   dv[j] = sum_t W[t, j] dO[t]
 *
 * The sums of dk and dv run over the headsPerKv heads, those of dkp and dvp over the G rows as well.
 * With bfloat16, W and dS are rounded to bfloat16 before the last three products, save where the processor has no
 * products of bfloat16 numbers: there they are widened to float32.
 */
template <class T>
void attentionBackward(const AttentionShape& shape, const AttentionInputs<T>& inputs, const T* o, const float* lse,
                       const T* dO, const AttentionGradients<T>& gradients);

extern template void attentionForward<float>(const AttentionShape&, const AttentionInputs<float>&, float*, float*);
extern template void attentionForward<bfloat16>(const AttentionShape&, const AttentionInputs<bfloat16>&, bfloat16*,
                                                float*);
extern template void attentionBackward<float>(const AttentionShape&, const AttentionInputs<float>&, const float*,
                                              const float*, const float*, const AttentionGradients<float>&);
extern template void attentionBackward<bfloat16>(const AttentionShape&, const AttentionInputs<bfloat16>&,
                                                 const bfloat16*, const float*, const bfloat16*,
                                                 const AttentionGradients<bfloat16>&);

}  // namespace weir
