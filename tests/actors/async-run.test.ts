import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Trace } from "../../src/contracts/trace.js";
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

  it("tells of every rollout in the step that it ended in: trained ones with advantage and lag", async () => {
    const { system } = await fakeRun(overlap(2, { monitor: { enabled: false, tracesPerStep: 1_000 } }), reward);
    const traces: Trace[] = [];
    system.traces$.subscribe((trace) => traces.push(trace));
    await system.start();
    const { runDirectory } = await system.done;
    const trained = [...(await endStates(runDirectory))].flatMap(([id, end]) => (end === "trained" ? [id] : []));
    const told = traces.filter(({ advantage, lag }) => advantage !== null && lag !== null);
    expect(told.map(({ id }) => id).sort()).toEqual(trained.sort());
    expect(new Set(traces.map(({ id }) => id)).size).toBe(traces.length);
  });

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

describe("a part replaced in a run with overlap", () => {
  it("is in use for every group that is issued after it, and the groups before end under the old one", async () => {
    const { system } = await fakeRun(overlap(2), reward);
    const scoredBy = new Map<string, string>();
    const next = rewardOf(({ rollout }) => {
      scoredBy.set(rollout.groupId, "new");
      return (rollout.sampleIndex + rollout.promptIds.length) % 2;
    });
    let done: Promise<void> = Promise.reject(new Error("was not asked for"));
    done.catch(() => undefined);
    const committed: number[] = [];
    system.facts$.subscribe((fact) => {
      if (fact.type === "step.committed") committed.push(fact.step);
      if (fact.type === "step.committed" && fact.step === 2) done = system.replace("reward", next);
    });
    await system.start();
    const { status, runDirectory } = await system.done;
    await done;
    expect(status).toBe("completed");
    expect(committed).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(scoredBy.size).toBeGreaterThan(0);
    const ends = await endStates(runDirectory);
    const groups = [...new Set([...ends.keys()].map((id) => id.replace(/-g\d+$/, "")))];
    const number = (id: string) => Number(id.split("-q")[1]);
    const first = Math.min(...[...scoredBy.keys()].map(number));
    // Nothing was in flight when it came: all that was issued later has the new reward, and nothing that was issued earlier.
    for (const id of groups.filter((one) => number(one) < first)) expect(scoredBy.has(id)).toBe(false);
    const ended = groups.filter((id) => number(id) >= first && ends.get(`${id}-g0`) === "trained");
    for (const id of ended) expect(scoredBy.get(id)).toBe("new");
  });
});
