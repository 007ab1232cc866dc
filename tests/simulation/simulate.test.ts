import { afterEach, describe, expect, it, vi } from "vitest";
import { KNOB_PATHS } from "../../src/config/knobs.js";
import { MemoryStore } from "../../src/simulation/memory-store.js";
import { simulateSeed, summaryOf } from "../../src/simulation/simulate.js";
import { GroupBook } from "../../src/streams/group-book.js";
import { anyRun, faultsOf, simulateSeeds, smallRun } from "./small-run.js";

const PATIENCE_MS = 120_000;

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a simulated run", () => {
  it("trains all its steps without a model, and says how busy its engines were", async () => {
    const result = await simulateSeed(smallRun(), 1, { faults: 0 });
    expect(faultsOf([result])).toEqual([]);
    expect(result).toMatchObject({ end: "completed", lives: 1, steps: 6, maxLag: 0 });
    expect(result.samplerBusy).toBeGreaterThan(0.2);
    expect(result.samplerBusy + result.trainerBusy).toBeLessThanOrEqual(1);
    expect(result.rollouts.ended % 2).toBe(0);
    expect(result.rollouts.ended).toBeGreaterThanOrEqual(6 * 4 * 2);
    expect(result.queues.rollouts).toBeLessThanOrEqual(4);
  });

  it("has the time that its latencies add up to", async () => {
    const latencies = {
      ...{ sampleCall: 10, sampleToken: 0, reward: 0, logprobs: 0, forwardBackward: 4, optimStep: 1 },
      ...{ publish: 0, adopt: 0, checkpoint: 0 },
    };
    const config = smallRun({
      phases: [{ maxTokens: 100, steps: 4 }],
      dynamicSampling: { enabled: false },
      checkpoint: { everySteps: 0 },
      simulation: { samplers: 1, latencies },
    });
    // 2 calls of 10 s one after another, then 2 mini-batches of 4 + 1 s.
    const { seconds, samplerBusy, trainerBusy } = await simulateSeed(config, 1, { faults: 0 });
    expect(seconds).toBeCloseTo(4 * 30, 6);
    expect(samplerBusy).toBeCloseTo(20 / 30, 6);
    expect(trainerBusy).toBeCloseTo(10 / 30, 6);
  });

  it("replays: the same seed gives the same event log, another seed another one", async () => {
    const log = async (seed: number) =>
      (await simulateSeed(smallRun({ async: { maxLag: 2 } }), seed, { faults: 0.05, trace: true })).log;
    const [first, again, other] = [await log(3), await log(3), await log(4)];
    expect(first.length).toBeGreaterThan(100);
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  it(
    "I1, I2, I4, I5, I9, I13, I14: hold over 60 seeds with rollbacks, and faults at 5 % of all awaits, and every run ends",
    async () => {
      const results = await simulateSeeds(anyRun, [1, 60], 0.05);
      expect(faultsOf(results)).toEqual([]);
      expect(results.map(({ end }) => end).filter((end) => end !== "completed")).toEqual([]);
      expect(results.reduce((sum, { lives }) => sum + lives, 0)).toBeGreaterThan(120);
      expect(summaryOf(results)).toMatchObject({ runs: 60, deadlocks: 0, invariant_violations: 0 });
    },
    PATIENCE_MS,
  );
});

describe("rollbacks at any moment", () => {
  const undone = (results: Awaited<ReturnType<typeof simulateSeeds>>) =>
    results.filter(({ rollouts }) => rollouts.rolledBack > 0).length;

  it(
    "I2, I9: leave ledger and weights exact over 40 seeds, with overlap, during checkpoints, followed by kills",
    async () => {
      const results = await simulateSeeds(anyRun, [201, 240], 0.05, 0.1);
      expect(faultsOf(results)).toEqual([]);
      expect(results.map(({ end }) => end).filter((end) => end !== "completed")).toEqual([]);
      expect(undone(results)).toBeGreaterThan(15);
    },
    PATIENCE_MS,
  );

  it("are found out where one rollout is left as trained that the weights no longer come from", async () => {
    const { trainedSince } = MemoryStore.prototype;
    vi.spyOn(MemoryStore.prototype, "trainedSince").mockImplementation(function (this: MemoryStore, place) {
      return trainedSince.call(this, place).slice(1);
    });
    const found = (await simulateSeeds(anyRun, [201, 212], 0.05, 0.1)).flatMap(({ violations }) => violations);
    expect(found[0]).toMatchObject({ invariant: "I2" });
    expect(found[0]?.text).toMatch(/^the ledger calls \d+ rollouts trained that the weights do not come from/);
  });
});

describe("knobs at any moment", () => {
  it(
    "I1, I2, I4, I5, I9, I13, I14: hold over 20 seeds in which they are turned at random within their bounds, with faults, kills and rollbacks",
    async () => {
      const results = await simulateSeeds(anyRun, [401, 420], 0.03, 0.02, 0.1);
      expect(faultsOf(results)).toEqual([]);
      expect(results.map(({ end }) => end).filter((end) => end !== "completed")).toEqual([]);
    },
    PATIENCE_MS,
  );

  it("are turned, each of them, to values of every kind", async () => {
    const turned = new Map<string, Set<number>>();
    const withReference = (seed: number) => {
      const config = anyRun(seed);
      return { ...config, loss: { ...config.loss, monitorKl: true } };
    };
    for (const seed of [1, 2, 3, 4])
      for (const line of (await simulateSeed(withReference(seed), seed, { faults: 0, knobs: 0.2, trace: true })).log) {
        const [, path = "", value = ""] = / control: (\S+) to (\S+)$/.exec(line) ?? [];
        if (path !== "") turned.set(path, (turned.get(path) ?? new Set()).add(Number(value)));
      }
    expect([...turned.keys()].sort()).toEqual(KNOB_PATHS.toSorted());
    for (const values of turned.values()) expect(values.size).toBeGreaterThan(1);
  });
});

describe("a control plane that loses credits", () => {
  /** Groups that end before they are trained keep their place in line. */
  const leak = () => {
    const { end } = GroupBook.prototype;
    vi.spyOn(GroupBook.prototype, "end").mockImplementation(function (this: GroupBook, groupId: string) {
      const { place, issued } = (this as unknown as { open: Map<string, { place: string; issued: never }> }).open.get(
        groupId,
      ) ?? { place: "", issued: null as never };
      return place === "inFlight" ? issued : end.call(this, groupId);
    });
  };

  it("is found as a deadlock that says where it stands, without overlap", async () => {
    leak();
    const results = await simulateSeeds(() => smallRun(), [1, 20], 0);
    const stuck = results.find(({ deadlock }) => deadlock !== null);
    expect(stuck?.deadlock).toMatch(
      /^nothing is left that could happen; lifecycle training, step \d, open calls: none/,
    );
    expect(summaryOf(results).deadlocks).toBeGreaterThan(0);
  });

  it("I4: is found with overlap, too, by its count", async () => {
    leak();
    const results = await simulateSeeds(() => smallRun({ async: { maxLag: 4 } }), [1, 20], 0);
    const found = results.flatMap(({ violations }) => violations);
    expect(found[0]).toMatchObject({ invariant: "I4" });
    expect(found[0]?.text).toMatch(/^admission counts \d+ groups in flight, the ledger knows \d+ that are open$/);
  });
});

describe("overlap of sampling and training", () => {
  /** One sampler and the trainer take 20 s each for a step. */
  const equalTimes = (maxLag: number) =>
    smallRun({
      phases: [{ maxTokens: 100, steps: 60 }],
      async: { maxLag },
      dynamicSampling: { enabled: false },
      checkpoint: { everySteps: 0 },
      evaluation: { initial: false },
      data: { train: ["none"] },
      simulation: {
        samplers: 1,
        latencies: {
          ...{ sampleCall: 10, sampleToken: 0, reward: 0, logprobs: 0, forwardBackward: 9, optimStep: 1 },
          ...{ publish: 0, adopt: 0 },
        },
      },
    });

  it("makes steps at least 1.6 times as fast with lag 1, and 1.8 times with lag 2", async () => {
    const perSecond = async (maxLag: number) => {
      const result = await simulateSeed(equalTimes(maxLag), 1, { faults: 0 });
      expect(faultsOf([result])).toEqual([]);
      expect(result.maxLag).toBe(maxLag === 0 ? 0 : Math.min(maxLag, result.maxLag));
      return result.steps / result.seconds;
    };
    const synchronous = await perSecond(0);
    expect(synchronous).toBeCloseTo(1 / 40, 6);
    expect((await perSecond(1)) / synchronous).toBeGreaterThanOrEqual(1.6);
    expect((await perSecond(2)) / synchronous).toBeGreaterThanOrEqual(1.8);
  });
});
