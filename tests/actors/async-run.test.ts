import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import { endStates } from "../e2e/tiny-run.js";
import { fakeRun, rewardOf } from "./fake-run.js";

/** Runs with overlap: issue goes on while updates are under way, within the bound of lag. */

const overlap = (maxLag: number, over: Partial<ConfigInput> = {}): Partial<ConfigInput> => ({
  async: { maxLag },
  phases: [
    { maxTokens: 70, steps: 4 },
    { maxTokens: 300, steps: 4 },
  ],
  update: { miniBatchPrompts: 2, microBatchTokens: 512, correction: { importance: "token" } },
  ...over,
});

/** Rewards that differ within most groups. */
const reward = rewardOf(({ rollout }) => (rollout.sampleIndex + rollout.promptIds.length) % 2);

describe("a run with overlap", () => {
  it.each([1, 2, 4])(
    "I2, I13: of lag %i ends with every rollout in one end state and no lag above the bound",
    async (maxLag) => {
      const { system, metrics } = await fakeRun(overlap(maxLag), reward);
      await system.start();
      const { status, runDirectory } = await system.done;
      expect(status).toBe("completed");
      const largest = metrics.flatMap(({ values }) => values["lag/max"] ?? []);
      expect(largest).toHaveLength(8);
      expect(Math.max(...largest)).toBeLessThanOrEqual(maxLag);
      expect(Math.max(...largest)).toBeGreaterThan(0);
      const ends = await endStates(runDirectory);
      expect([...ends.values()].filter((end) => end === "trained").length).toBe(8 * 3 * 4);
    },
  );

  it("stops in order with rollouts in flight, and issues their tasks again when it goes on", async () => {
    const { system } = await fakeRun(overlap(2), reward);
    await system.start();
    await new Promise<void>((resolve) =>
      system.facts$.subscribe((fact) => {
        if (fact.type === "step.committed" && fact.step === 3) resolve();
      }),
    );
    const { status, runDirectory } = await system.stop();
    expect(status).toBe("stopped");
    await endStates(runDirectory);
    const again = await fakeRun(overlap(2), reward, { resume: runDirectory });
    await again.system.start();
    expect((await again.system.done).status).toBe("completed");
    const ends = await endStates(runDirectory);
    expect([...ends.values()].filter((end) => end === "trained").length).toBe(8 * 3 * 4);
  });
});
