/** Groups of which too few responses could be scored: drawn again as another attempt, within a bound, and in no mean (I1, I2, I12). */
import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import type { GroupWorkers } from "../../src/streams/group-workers.js";
import { rolloutSeeds } from "../../src/streams/rollout-stages.js";
import { scored } from "../../src/testing.js";
import { createRig, type RigOptions, until } from "./pipeline-rig.js";

const sequenceOf = ({ groupId }: Rollout) => Number(groupId.split("-q")[1]);
const count = (values: Iterable<string>) => {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
};

/** Fails the given members of groups by order of issue; the others get 0 and 1 in turn. */
const failing = (members: Readonly<Record<number, readonly number[]>>): NonNullable<RigOptions["reward"]> => {
  return (rollout) => (members[sequenceOf(rollout)]?.includes(rollout.sampleIndex) ? null : rollout.sampleIndex % 2);
};

const GROUP = 4;
const config = (over: Partial<ConfigInput> = {}): Partial<ConfigInput> => ({ ...over, rollout: { groupSize: GROUP } });
const seedsOf = (taskId: string, attempt: number) =>
  rolloutSeeds(7, { phase: 1, task: { id: taskId } as never, visit: 0, attempt }, GROUP);
const lagged = { async: { maxLag: 1 }, update: { correction: { importance: "token" as const } } };

describe("a group of four with the default share of 75 %", () => {
  it("is trained on with three scored responses; with two it is drawn again with seeds of another attempt", async () => {
    const rig = createRig({ config: config(), reward: failing({ 0: [3], 1: [1, 2] }) });
    const { batch } = await rig.step();
    expect(batch.kept.map(({ sequence, task, visit }) => [sequence, task.id, visit])).toEqual([
      [0, "t0", 0],
      [2, "t1", 0],
    ]);
    expect(batch).toMatchObject({ rounds: 2, dropped: [{ group: { sequence: 1 }, reason: "group_too_small" }] });
    expect(rig.requests.map(({ prompts }) => prompts[0]?.seeds)).toEqual([
      seedsOf("t0", 0),
      seedsOf("t1", 0),
      seedsOf("t1", 1),
    ]);
    // Each rollout ends once: three and four were trained on, two failed in the first attempt with two that stay without use.
    expect(count(rig.ends().values())).toEqual({ trained: 7, reward_failed: 3, group_too_small: 2 });
    expect(rig.open()).toBe(0);
    // The two scores of the first attempt are no fair sample, so that the curriculum does not hear of them.
    expect(rig.observed.map(({ taskId, rewards }) => [taskId, rewards.length])).toEqual([
      ["t0", 3],
      ["t1", 4],
    ]);
  });

  it("is given up after `maxAttempts`, and its place is taken by another task", async () => {
    const reward: RigOptions["reward"] = ({ promptIds, sampleIndex }) => (promptIds[0] === 1 ? null : sampleIndex % 2);
    const rig = createRig({ config: config({ dynamicSampling: { maxAttempts: 2 } }), reward });
    const { batch } = await rig.step();
    expect(batch.kept.map(({ task }) => task.id)).toEqual(["t1", "t2"]);
    expect(rig.requests.map(({ prompts }) => prompts[0]?.seeds)).toEqual([
      seedsOf("t0", 0),
      seedsOf("t1", 0),
      seedsOf("t0", 1),
      seedsOf("t2", 0),
    ]);
    expect(count(rig.ends().values())).toEqual({ trained: 8, reward_failed: 8 });
  });

  it("is not drawn again with `drop`, and not where another response would meet the same fault", async () => {
    const dropping = createRig({
      config: config({ dynamicSampling: { unviable: "drop" } }),
      reward: failing({ 0: [0, 1] }),
    });
    await dropping.step();
    expect(dropping.requests.map(({ prompts }) => prompts[0]?.promptIds)).toEqual([[1], [2], [3]]);
    for (const outcome of [
      { kind: "abstained", reason: "no opinion" },
      { kind: "invalid", reason: "NaN" },
      { kind: "failed", code: "WEIR_E_REWARD_SOURCE", reason: "no family" },
    ] as const) {
      const reward: RewardActor = {
        kind: "own",
        specificationVersion: 1,
        handle: async ({ task, rollout }) => (task.id === "t0" ? outcome : scored(rollout.sampleIndex % 2)),
      };
      const rig = createRig({ config: config(), parts: { reward } });
      await rig.step();
      expect(rig.requests.map(({ prompts }) => prompts[0]?.promptIds)).toEqual([[1], [2], [3]]);
    }
  });

  it("that waits to be drawn again is part of a checkpoint, and comes first after it", async () => {
    const rig = createRig({
      config: config({ dynamicSampling: { oversample: 2 } }),
      // Of four groups two are enough, so that the one that failed waits for the next step.
      reward: failing({ 1: [0, 1, 2, 3] }),
    });
    await rig.step();
    const snapshot = rig.pipeline.snapshot();
    expect(snapshot).toMatchObject({ pending: [{ taskId: "t1", visit: 0, attempt: 1, open: null }] });
    await rig.pipeline.halt("aborted");
    rig.pipeline.restore(snapshot, 0);
    rig.requests.length = 0;
    await rig.step();
    expect(rig.requests[0]?.prompts[0]?.seeds).toEqual(seedsOf("t1", 1));
  });
});

describe("with lag", () => {
  it("a group that is not viable is issued again at once, and every rollout ends once", async () => {
    const rig = createRig({ config: config(lagged), reward: failing({ 0: [0, 1] }) });
    const steps = [await rig.step(), await rig.step()];
    const trained = steps.flatMap(({ batch }) => batch.kept.map(({ task }) => task.id));
    expect(trained).toContain("t0");
    const t0 = rig.requests.filter(({ prompts }) => prompts[0]?.promptIds[0] === 1);
    expect(t0.map(({ prompts }) => prompts[0]?.seeds)).toEqual([seedsOf("t0", 0), seedsOf("t0", 1)]);
    await rig.pipeline.halt("aborted");
    expect(rig.open()).toBe(0);
    expect(count(rig.ends().values())).toMatchObject({ reward_failed: 2, group_too_small: 2, trained: 16 });
  });
});

describe("with workers", () => {
  it.each([
    ["without lag", {}],
    ["with lag", lagged],
  ] as const)("a group that they give up is drawn again as another attempt: %s", async (_, over) => {
    const asked: (readonly number[])[] = [];
    let settled = 0;
    const workers: GroupWorkers = {
      draw: async ({ seeds, task }) => {
        asked.push(seeds);
        if (task.id === "t0" && asked.length === 1) return { kind: "lost", reason: "given up" };
        const sequences = seeds.map(() => ({
          ...{ tokenIds: [5], logprobs: [-1], entropies: null, finish: "stop" as const },
          spans: [{ version: 0, sha256: "", start: 0, end: 1 }] as never,
        }));
        return {
          kind: "drawn",
          result: {
            ...{ worker: "w", attempt: 1, sequences, seconds: { sample: 0, reward: 0 } },
            outcomes: seeds.map((__, g) => scored(g % 2)),
          },
          settle: () => void settled++,
        };
      },
      abandon: async () => undefined,
    };
    const rig = createRig({ config: config(over), workers: () => workers });
    const { batch } = await rig.step();
    expect(batch.kept).toHaveLength(2);
    await until(() => asked.some((seeds) => String(seeds) === String(seedsOf("t0", 1))));
    expect(asked[0]).toEqual(seedsOf("t0", 0));
    await rig.pipeline.halt("aborted");
    expect(rig.open()).toBe(0);
    expect(settled).toBe(asked.length - 1);
  });
});
