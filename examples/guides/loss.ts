// A loss: REINFORCE with the ratio π/π_old as a weight that is 0 where the ratio is above 2.
// ℓ = −ratio·A·log π with the ratio held fixed, so that dℓ/d(log π) = −ratio·A.
import type { LossPart, PartDefinitions } from "weir-rl";

const LARGEST_RATIO = 2;

export const cut: LossPart = {
  kind: "cut",
  specificationVersion: 1,
  aggregation: "token-mean",
  evaluate(sequences) {
    let value = 0;
    let clipped = 0;
    const coefficients = sequences.map(({ logprobs, old, advantages, weights }) =>
      Array.from(weights, (weight, t) => {
        if (weight === 0) return 0;
        const logprob = logprobs[t] ?? 0;
        const ratio = Math.exp(logprob - (old[t] ?? 0));
        if (ratio > LARGEST_RATIO) {
          clipped += 1;
          return 0;
        }
        const coefficient = -weight * ratio * (advantages[t] ?? 0);
        value += coefficient * logprob;
        return coefficient;
      }),
    );
    return { value, coefficients, clipped, clippedLower: 0 };
  },
};

export const parts: PartDefinitions = { loss: { cut } };
