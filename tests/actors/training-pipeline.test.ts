import { describe, expect, it } from "vitest";
import { TrainingPipeline } from "../../src/actors/pipeline/training-pipeline.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { GroupFilter } from "../../src/contracts/filter.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import { failure } from "../helpers/errors.js";
import { settled } from "../helpers/virtual-time.js";
import { createRig, gate, type RigOptions, until } from "./pipeline-rig.js";

const lag = (maxLag: number, over: Partial<ConfigInput> = {}): Partial<ConfigInput> => ({
  async: { maxLag },
  update: { correction: { importance: "token" } },
  ...over,
});

const sequenceOf = ({ groupId }: Rollout) => Number(groupId.split("-q")[1]);
const count = (values: Iterable<string>) => {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
};

/** Rewards by order of issue. */
const rewarding = (rewards: readonly (readonly (number | null)[])[]): NonNullable<RigOptions["reward"]> => {
  return (rollout) => rewards[sequenceOf(rollout)]?.[rollout.sampleIndex] ?? null;
};

describe("a step without lag", () => {
  it("trains on its groups in the order of issue, publishes once, and issues nothing before the next", async () => {
    const rig = createRig();
    for (const step of [1, 2]) {
      const { batch, kept, lag } = await rig.step();
      expect(kept.map(({ group }) => group.id)).toEqual([0, 1].map((i) => `s${step}-q${2 * (step - 1) + i}`));
      expect(batch).toMatchObject({ rounds: 1, exhausted: false });
      // Two groups of two rollouts of one token.
      expect(lag).toEqual({ bound: 0, tokens: [4] });
      await settled();
      expect(rig.policies.version.n).toBe(step);
      expect(rig.requests).toHaveLength(2 * step);
    }
    expect(rig.requests.map(({ policy }) => policy)).toEqual([0, 0, 1, 1].map((exactly) => ({ exactly })));
    expect(count(rig.ends().values())).toEqual({ trained: 8 });
    expect(rig.open()).toBe(0);
    expect(rig.pipeline.snapshot()).toMatchObject({ sequence: 4, pending: [] });
  });

  it("draws rounds for what is missing, keeps the order, and ends each group for its reason", async () => {
    const rig = createRig({
      config: {
        rollout: { groupSize: 3 },
        dynamicSampling: { oversample: 1.5, minScoredShare: 0.5, unviable: "drop" },
      },
      // ⌈2 · 1.5⌉ groups, then ⌈1 · 1.5⌉ for the one that is missing.
      reward: rewarding([
        [1, 1, 1],
        [1, 0, 0],
        [null, null, 1],
        [0, 1, null],
        [1, 0, 1],
      ]),
    });
    const { batch } = await rig.step();
    expect(batch.kept.map(({ sequence }) => sequence)).toEqual([1, 3]);
    expect(batch.dropped.map(({ group, reason }) => [group.sequence, reason])).toEqual([
      [2, "group_too_small"],
      [0, "zero_variance"],
      [4, "surplus"],
    ]);
    expect(batch).toMatchObject({ rounds: 2, exhausted: false });
    // The curriculum hears of every viable group, in the order of issue.
    expect(rig.observed.map(({ taskId, rewards }) => [taskId, rewards])).toEqual([
      ["t0", [1, 1, 1]],
      ["t1", [1, 0, 0]],
      ["t3", [0, 1]],
      ["t4", [1, 0, 1]],
    ]);
    expect(count(rig.ends().values())).toEqual({
      trained: 5,
      reward_failed: 3,
      zero_variance: 3,
      group_too_small: 1,
      surplus: 3,
    });
  });

  it.each(["proceed", "fail"] as const)("ends at the bound of rounds: %s", async (onExhausted) => {
    const rig = createRig({
      config: { dynamicSampling: { maxRounds: 3, onExhausted } },
      reward: rewarding([[1, 0]]),
    });
    const step = rig.step();
    if (onExhausted === "proceed") {
      const { batch } = await step;
      expect(batch).toMatchObject({ rounds: 3, exhausted: true });
      expect(batch.kept.map(({ sequence }) => sequence)).toEqual([0]);
      return;
    }
    await failure(() => step, "WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED");
    expect(count(rig.ends().values())).toEqual({ aborted: 8 });
  });

  it("drops what a filter of one's own says, for its reason, and asks it of no group with too few scores (I1)", async () => {
    const asked: string[][] = [];
    const filter: GroupFilter = {
      kind: "own",
      specificationVersion: 1,
      filter: (groups) => {
        asked.push(groups.map(({ taskId }) => taskId));
        return groups.map(({ taskId }) => (taskId === "t0" ? "too_easy" : null));
      },
    };
    const rig = createRig({
      config: { rollout: { promptsPerStep: 3 }, dynamicSampling: { unviable: "drop" } },
      parts: { filter },
      reward: rewarding([
        [1, 1],
        [null, null],
        [0, 0],
        [1, 0],
        [1, 1],
      ]),
    });
    const { batch } = await rig.step();
    expect(batch.kept.map(({ sequence }) => sequence)).toEqual([2, 3, 4]);
    expect(batch.dropped.map(({ reason }) => reason)).toEqual(["group_too_small", "too_easy"]);
    expect(asked).toEqual([
      ["t0", "t2"],
      ["t3", "t4"],
    ]);
  });

  it("tries a part again that threw, without telling the curriculum of a group twice", async () => {
    let broken = 2;
    const filter: GroupFilter = {
      kind: "shaky",
      specificationVersion: 1,
      filter: async (groups) => {
        if (broken-- > 0) throw new Error("once more");
        return groups.map(() => null);
      },
    };
    const rig = createRig({ parts: { filter } });
    const step = rig.step();
    for (const wait of [100, 200]) {
      await settled();
      await rig.time.advance(wait);
    }
    expect((await step).kept).toHaveLength(2);
    expect(rig.observed).toHaveLength(2);
    expect(rig.pipeline.actors().find(({ name }) => name === "filter")).toMatchObject({ restarts: 2, handled: 1 });
  });
});

describe.each([0, 2])("a step of lag bound %i that is aborted", (maxLag) => {
  it.each(["sampling", "reward", "updating", "publishing"] as const)(
    "while %s ends every open rollout, and another step can follow",
    async (where) => {
      const held = gate();
      let closed = true;
      const wait = (signal: AbortSignal) => (closed ? held.wait(signal) : undefined);
      const rig = createRig({
        config: lag(maxLag),
        ...(where === "reward"
          ? {
              reward: async (rollout: Rollout, signal: AbortSignal) => {
                await wait(signal);
                return rollout.sampleIndex % 2;
              },
            }
          : where === "publishing"
            ? { publishing: (signal: AbortSignal) => (rig.policies.version.sha256 === "" ? undefined : wait(signal)) }
            : { [where]: (_: unknown, signal: AbortSignal) => wait(signal) }),
      });
      const controller = new AbortController();
      const step = rig.step(controller.signal);
      const refused = expect(step).rejects.toThrow("by hand");
      await until(held.reached);
      controller.abort(new Error("by hand"));
      await refused;
      expect(rig.open()).toBe(0);
      const trained = where === "publishing" ? { trained: 4 } : {};
      const { aborted = 0, ...others } = count(rig.ends().values());
      expect(others).toEqual(trained);
      if (where !== "publishing" || maxLag > 0) expect(aborted).toBeGreaterThan(0);
      expect(rig.pipeline.inFlight).toBe(0);
      const requested = rig.requests.length;
      await settled();
      expect(rig.requests).toHaveLength(requested);
      expect(rig.time.pending).toBe(0);
      closed = false;
      expect((await rig.step()).kept).toHaveLength(2);
    },
  );
});

describe("parts that ignore the end of a step", () => {
  it("neither hold it up for ever, nor change what comes after it", async () => {
    const deaf = gate(true);
    let closed = true;
    const rig = createRig({ updating: () => (closed ? deaf.wait(AbortSignal.abort()) : undefined) });
    const controller = new AbortController();
    const refused = expect(rig.step(controller.signal)).rejects.toThrow("by hand");
    await until(deaf.reached);
    controller.abort(new Error("by hand"));
    await settled();
    await rig.time.advance(2_000);
    await refused;
    expect(count(rig.ends().values())).toEqual({ aborted: 4 });
    closed = false;
    const next = rig.step();
    deaf.open();
    const { kept } = await next;
    expect(kept.map(({ group }) => group.sequence)).toEqual([2, 3]);
    expect(count(rig.ends().values())).toEqual({ aborted: 4, trained: 4 });
  });
});

describe("a pipeline with lag", () => {
  it.each([
    ["with a sampler of its own", false],
    ["with a sampler that shares the trainer's weights", true],
  ])("I13: keeps the bound over many steps %s, and every rollout ends once", async (_, shared) => {
    const rig = createRig({ config: lag(2), shared });
    let largest = 0;
    for (let step = 0; step < 30; step++) {
      const { lag } = await rig.step();
      expect(lag.tokens).toHaveLength(3);
      largest = Math.max(
        largest,
        lag.tokens.findLastIndex((tokens) => tokens > 0),
      );
    }
    expect(largest).toBeGreaterThan(0);
    await rig.pipeline.halt("training_ended");
    expect(rig.open()).toBe(0);
    const { trained, training_ended, ...others } = count(rig.ends().values());
    expect(trained).toBe(30 * 4);
    expect(training_ended).toBeGreaterThan(0);
    expect(others).toEqual({});
    for (const { highWater, bound } of rig.gauges.read()) expect(highWater).toBeLessThanOrEqual(bound);
  });

  it("issues for later steps while an update is under way, and no more than the bound lets it", async () => {
    const held = gate();
    const rig = createRig({ config: lag(1), updating: (_, signal) => held.wait(signal) });
    const step = rig.step();
    await until(held.reached);
    await settled();
    // Two steps' groups of two each: one is in the update, and the other waits for the next.
    expect(rig.requests).toHaveLength(4);
    held.open();
    await step;
  });

  it("parks: what is in flight is dropped, and its tasks are issued again with other seeds", async () => {
    const held = gate();
    let closed = false;
    const rig = createRig({
      config: lag(2),
      sampling: (_, signal) => (closed ? held.wait(signal) : undefined),
    });
    await rig.step();
    closed = true;
    const stepping = rig.step();
    await stepping;
    await until(held.reached);
    const pending = (rig.pipeline.snapshot() as { pending: { taskId: string; open: object | null }[] }).pending;
    const lost = pending.map(({ taskId }) => taskId);
    expect(lost.length).toBeGreaterThan(0);
    const [first] = rig.requests.slice(-1);
    await rig.pipeline.park();
    expect(rig.open()).toBe(0);
    expect(rig.pipeline.snapshot()).toEqual({
      sequence: rig.pipeline.sequence,
      marks: { attemptFloor: 0, highestAttempt: 0, skip: [] },
      pending: lost.map((taskId) => ({ taskId, phase: 1, visit: 0, carried: false, attempt: 1, open: null })),
    });
    closed = false;
    const before = rig.requests.length;
    await rig.step();
    const again = rig.requests.slice(before).flatMap(({ prompts }) => prompts);
    expect(again.slice(0, lost.length).map(({ promptIds }) => `t${(promptIds[0] as number) - 1}`)).toEqual(lost);
    const same = again.find(({ promptIds }) => promptIds[0] === first?.prompts[0]?.promptIds[0]);
    expect(same?.seeds).not.toEqual(first?.prompts[0]?.seeds);
    expect(same?.seeds).toHaveLength(2);
  });

  it("restores: what a checkpoint found open ends as aborted once, and no number of issue is used again", async () => {
    const rig = createRig({ config: lag(2) });
    await rig.step();
    await settled();
    // Groups were issued since the step ended.
    const snapshot = rig.pipeline.snapshot() as { sequence: number; pending: { taskId: string }[] };
    const mark = [...rig.entries];
    expect(snapshot.pending.length).toBeGreaterThan(0);
    expect(snapshot.sequence).toBe(2 + snapshot.pending.length);
    const resumed = createRig({ config: lag(2) });
    resumed.entries.push(...mark);
    resumed.at.picked = rig.at.picked;
    resumed.pipeline.restore(snapshot as never, 2);
    expect(resumed.open()).toBe(0);
    expect(count(resumed.ends().values())).toEqual({ trained: 4, aborted: 2 * snapshot.pending.length });
    resumed.at.step = 2;
    await resumed.step();
    const [first] = resumed.requests;
    expect(`t${(first?.prompts[0]?.promptIds[0] as number) - 1}`).toBe(snapshot.pending[0]?.taskId);
    await resumed.pipeline.halt("aborted");
    expect(resumed.open()).toBe(0);
  });

  it("drops the groups of a phase that has ended: those that wait at once, those in flight when they come", async () => {
    const held = gate();
    let closed = false;
    const rig = createRig({
      config: lag(2, { rollout: { promptsPerStep: 2, promptsPerCall: 1, callsInFlight: 2 } }),
      sampling: (_, signal) => (closed ? held.wait(signal) : undefined),
    });
    await rig.step();
    await settled();
    closed = true;
    await rig.step();
    await until(held.reached);
    const issued = rig.pipeline.sequence;
    rig.at.phase = 2;
    rig.pipeline.enterPhase(2);
    held.open();
    closed = false;
    const { kept, batch } = await rig.step();
    expect(kept.every(({ group }) => group.phase === 2 && group.sequence >= issued)).toBe(true);
    expect(batch.dropped.every(({ reason }) => reason === "phase_ended")).toBe(true);
    expect(count(rig.ends().values())).toEqual({ trained: 12, phase_ended: 2 * (issued - 4) });
  });

  it("does not issue again what was lost in a phase that is over", async () => {
    const rig = createRig({ config: lag(2) });
    await rig.step();
    await settled();
    const snapshot = rig.pipeline.snapshot();
    const resumed = createRig({ config: lag(2) });
    resumed.at.phase = 2;
    resumed.pipeline.restore(snapshot, 0);
    expect(resumed.pipeline.snapshot()).toMatchObject({ pending: [] });
  });

  it("issues again what a later phase lost, also where the phase is known only after the pipeline was restored", async () => {
    const rig = createRig({ config: lag(2) });
    rig.at.phase = 2;
    await rig.step();
    await settled();
    const snapshot = rig.pipeline.snapshot() as { readonly pending: readonly unknown[] };
    expect(snapshot.pending.length).toBeGreaterThan(0);
    const resumed = createRig({ config: lag(2) });
    resumed.pipeline.restore(snapshot as never, 0);
    resumed.at.phase = 2;
    expect((resumed.pipeline.snapshot() as typeof snapshot).pending).toHaveLength(snapshot.pending.length);
  });

  it("drops stale groups, and issues their task again at most maxAttempts times", async () => {
    const held = new Map<number, ReturnType<typeof gate>>();
    const seeds: number[][] = [];
    const rig = createRig({
      config: lag(1, { async: { maxLag: 1, maxAttempts: 2 }, rollout: { callsInFlight: 2 } }),
      sampling: ({ prompts: [prompt] }, signal) => {
        // The first task is always slow.
        if (prompt?.promptIds[0] !== 1) return undefined;
        seeds.push([...prompt.seeds]);
        const slow = gate();
        held.set(seeds.length, slow);
        return slow.wait(signal);
      },
    });
    for (const attempt of [1, 2]) {
      // Others overtake it until it is two versions behind.
      for (let step = 0; step < 3; step++) await rig.step();
      expect(seeds).toHaveLength(attempt);
      held.get(attempt)?.open();
      for (let step = 0; step < 2; step++) await rig.step();
      expect([...rig.ends().values()].filter((end) => end === "stale")).toHaveLength(2 * attempt);
    }
    for (let step = 0; step < 3; step++) await rig.step();
    expect(seeds).toHaveLength(2);
    expect(seeds[0]).not.toEqual(seeds[1]);
  });

  it("is quiet for work that needs it: nothing in flight, and nothing issued meanwhile", async () => {
    const held = gate();
    let closed = false;
    const rig = createRig({ config: lag(2), sampling: (_, signal) => (closed ? held.wait(signal) : undefined) });
    await rig.step();
    closed = true;
    await rig.step();
    await until(held.reached);
    let requested = 0;
    const working = gate();
    const { signal } = new AbortController();
    const quiet = rig.pipeline.quietly(async () => {
      expect(rig.pipeline.inFlight).toBe(0);
      requested = rig.requests.length;
      await working.wait(signal);
      expect(rig.requests).toHaveLength(requested);
    }, signal);
    await settled();
    expect(working.reached()).toBe(false);
    closed = false;
    held.open();
    await until(working.reached);
    await settled();
    working.open();
    await quiet;
    await rig.step();
    expect(rig.requests.length).toBeGreaterThan(requested);
  });

  it("held, issues nothing until it is released", async () => {
    const rig = createRig({ config: lag(2) });
    await rig.step();
    rig.pipeline.hold();
    await settled();
    const requested = rig.requests.length;
    await settled();
    expect(rig.requests).toHaveLength(requested);
    rig.pipeline.release();
    await rig.step();
    await until(() => rig.requests.length > requested);
  });

  it("fails its step with the error of an adoption, and goes on from there", async () => {
    let broken = false;
    const rig = createRig({
      config: lag(1),
      adopting: async () => {
        if (broken) throw new Error("no such adapter");
      },
    });
    await rig.step();
    broken = true;
    await rig.step();
    await settled();
    await expect(rig.step()).rejects.toThrow("no such adapter");
    expect(rig.open()).toBe(0);
    broken = false;
    expect((await rig.step()).kept).toHaveLength(2);
  });

  it("waits for an adoption under way when it is halted", async () => {
    const held = gate();
    let closed = false;
    let ended = false;
    const rig = createRig({
      config: lag(1),
      adopting: async (_, signal) => {
        if (!closed) return;
        await held.wait(signal).catch(() => undefined);
        await settled();
        ended = true;
        signal.throwIfAborted();
      },
    });
    await rig.step();
    closed = true;
    await rig.step();
    await until(held.reached);
    await rig.pipeline.halt("aborted");
    expect(ended).toBe(true);
  });
});

describe("a pipeline without a supervisor", () => {
  it("says so", async () => {
    const { pipeline } = createRig();
    const bare = new TrainingPipeline((pipeline as unknown as { host: never }).host);
    await failure(() => bare.step(new AbortController().signal), "WEIR_E_STATE");
  });
});
