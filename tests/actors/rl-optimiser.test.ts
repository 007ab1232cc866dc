/** The learning rate of each RL step. */
import { describe, expect, it } from "vitest";
import { rlOptimiser } from "../../src/actors/run/rl-step.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { parityReward } from "../e2e/tiny-run.js";
import { demonstrations, fakeRun } from "./fake-run.js";

/** Rates of all steps of two phases of 4 and 6 steps, at a peak of 1. */
function rates(optimiser: ConfigInput["optimiser"]): number[] {
  const config = parseConfig({
    model: { path: "m" },
    data: { train: ["t"] },
    phases: [
      { maxTokens: 10, steps: 4 },
      { maxTokens: 20, steps: 6 },
    ],
    optimiser: { learningRate: 1, ...optimiser },
  });
  return Array.from({ length: 10 }, (_, i) => rlOptimiser(config, i + 1).learningRate);
}

describe("the learning rate of RL", () => {
  it("rises over its warm-up and falls along a cosine, above 0 in every step, the last one too", () => {
    const all = rates({ schedule: "cosine", warmupSteps: 2 });
    expect(all.slice(0, 2)).toEqual([0.5, 1]);
    for (const rate of all) expect(rate).toBeGreaterThan(0);
    // Step 10 is 8 of 9 parts down: (1 + cos(8π/9))/2.
    expect(all[9]).toBeCloseTo(0.030153689607046, 12);
    for (let i = 2; i < 10; i++) expect(all[i] as number).toBeLessThan(all[i - 1] as number);
  });

  it("is above 0 in the last step without a warm-up, and with one as long as the run", () => {
    // 9 of 10 parts down: (1 + cos(9π/10))/2.
    expect(rates({ schedule: "cosine" })[9]).toBeCloseTo(0.024471741852423, 12);
    expect(rates({ schedule: "cosine", warmupSteps: 10 })).toEqual([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
    expect(rates({ schedule: "cosine", warmupSteps: 99 })[9]).toBe(1);
  });

  it("falls towards a share of its peak where one is given", () => {
    const all = rates({ schedule: "cosine", finalShare: 0.1 });
    expect(all[0]).toBe(1);
    expect(all[9]).toBeCloseTo(0.1 + 0.9 * 0.024471741852423, 12);
  });

  it("is above 0 in every step of a run, the warm-up's and the last one's too", async () => {
    const rates: number[] = [];
    const { system } = await fakeRun(
      {
        phases: [{ maxTokens: 300, steps: 3 }],
        warmup: { data: [await demonstrations(4)], batchRows: 1, epochs: 1, learningRate: 1, warmupShare: 0.5 },
        optimiser: { learningRate: 1, schedule: "cosine", warmupSteps: 1 },
        update: { miniBatchPrompts: null },
      },
      parityReward,
      {
        trainer: {
          async optimStep({ learningRate }) {
            rates.push(learningRate);
            return { applied: true, gradNorm: 1, gradNormByTensor: null };
          },
          reviseStep: async () => undefined,
        },
      },
    );
    await system.start();
    await system.done;
    // Warm-up: two rising steps, then 1/3 and 2/3 of the way down. RL: 1, then the same.
    const falling = [expect.closeTo(0.75, 12), expect.closeTo(0.25, 12)];
    expect(rates).toEqual([0.5, 1, ...falling, 1, ...falling]);
  });

  it("stays where it is when it is constant", () => {
    expect(rates({ schedule: "constant" })).toEqual(new Array(10).fill(1));
    expect(rates({ schedule: "constant", warmupSteps: 4 }).slice(2)).toEqual([0.75, 1, 1, 1, 1, 1, 1, 1]);
  });
});
