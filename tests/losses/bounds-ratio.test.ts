import { describe, expect, it } from "vitest";
import { float64 } from "../../src/losses/algebra.js";
import { LOSS_NAMES, policyLossNamed } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";

/** Largest |dℓ/d(log π)| of one token over log ratios from −25 to 25 and both signs of A. */
function steepest(name: string, over: Parameters<typeof lossSettings>[1]): number {
  const loss = policyLossNamed(name);
  const settings = { ...lossSettings(name, over) };
  let most = 0;
  for (const advantage of [1, -1]) {
    for (let ratio = -25; ratio <= 25; ratio += 0.125) {
      const old = Float64Array.of(Math.min(-1, -1 - ratio));
      const x = { logprobs: Float64Array.of(Number(old[0]) + ratio), old, advantages: Float64Array.of(advantage) };
      most = Math.max(most, Math.abs(loss.terms(float64, x, settings).slope[0] as number));
    }
  }
  return most;
}

/** dppo_tv takes ratios up to 20; a free ratio goes up to e^10 (gspo) or e^20. */
const BOUND = 20;

describe("a loss that says it bounds its ratio", () => {
  it.each(LOSS_NAMES.filter((name) => name !== "reinforce"))("%s: says what its gradient does", (name) => {
    const bounded = steepest(name, {}) <= BOUND;
    expect(policyLossNamed(name).boundsRatio(lossSettings(name))).toBe(bounded);
  });

  it.each(["grpo", "dapo", "dr_grpo"])("%s: does with a dual clip or a largest ratio", (name) => {
    for (const over of [{ dualClip: 3 }, { largestRatio: 4 }]) {
      expect(policyLossNamed(name).boundsRatio(lossSettings(name, over))).toBe(true);
      expect(steepest(name, over)).toBeLessThanOrEqual(BOUND);
    }
  });

  it("reinforce: has no ratio", () => {
    expect(policyLossNamed("reinforce").boundsRatio(lossSettings("reinforce"))).toBe(false);
  });
});
