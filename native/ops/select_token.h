// Draws one token per row of logits: greedy, or by inverse CDF of a given uniform number over what top-k and top-p leave.
// Log-prob and entropy are those of the full distribution.
#pragma once

#include <cstdint>

namespace weir {

struct SelectOptions {
  bool greedy;
  int64_t topK;   // 0 keeps all
  bool nucleus;   // whether topP counts
  float topP;
};

// logits [rows, vocabulary], uniforms [rows] in (0, 1); ids, logprobs, entropies [rows].
// A row whose logits are not all finite gets a log-prob that is not finite.
void selectTokens(const float* logits, int64_t rows, int64_t vocabulary, const float* uniforms,
                  const SelectOptions& options, int32_t* ids, float* logprobs, float* entropies);

}  // namespace weir
