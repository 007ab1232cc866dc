import { describe, expect, it } from "vitest";
import type { RewardActor, RewardOutcome } from "../../src/contracts/reward.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import { checkedOutcome, outcomeWithin } from "../../src/streams/deadline.js";
import { GaugeBoard } from "../../src/streams/gauges.js";
import { type IssuedTask, rolloutSeeds, runRound } from "../../src/streams/rollout-stages.js";
import { realTime } from "../../src/system/time.js";
import { FIXED_POLICY, PLAIN_CAPABILITIES, wholeSpan } from "../helpers/sampling.js";

const GROUP = 4;

type Issued = Omit<IssuedTask, "round">;
type Options = Parameters<typeof runRound>[2];
type Parts = Parameters<typeof runRound>[1];

function issued(n: number): Issued[] {
  return Array.from({ length: n }, (_, sequence) => ({
    task: {
      id: `t${sequence}`,
      messages: [],
      document: null,
      goldAnswers: [""],
      source: "test",
      promptTokens: 3,
      meta: {},
    },
    promptIds: [1, 2, 3],
    phase: 1,
    step: 1,
    visit: 0,
    carried: false,
    sequence,
    attempt: 0,
  }));
}

/** Returns one token per sequence: its seed. */
const echoSampler: Sampler = {
  kind: "echo",
  specificationVersion: 2,
  capabilities: PLAIN_CAPABILITIES,
  ...FIXED_POLICY,
  sample: async ({ prompts }) => ({
    sequences: prompts.map(({ seeds }) =>
      seeds.map((seed) => ({
        tokenIds: [seed % 97],
        logprobs: [-1],
        entropies: [0.5],
        finish: "stop" as const,
        spans: wholeSpan(1, 3, "ab"),
      })),
    ),
    seconds: 0.25,
  }),
};

const scored = (value: number): RewardOutcome => ({ kind: "scored", value, parts: { rule: value }, prediction: null });

const options = (over: Partial<Options> = {}): Options => ({
  seed: 7,
  groupSize: GROUP,
  promptsPerCall: 2,
  queueGroups: 2,
  rewardConcurrency: 3,
  rewardTimeoutMs: 1000,
  policy: () => ({ exactly: 3 }),
  callsInFlight: 1,
  sampleTimeoutMs: 60_000,
  sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 8, stopIds: [0] },
  shape: (reward) => reward,
  decode: (ids) => ids.join(" "),
  ...over,
});

const parts = (reward: RewardActor, over: Partial<Parts> = {}, sampler: Sampler = echoSampler): Parts => ({
  parts: () => ({ sampler, reward }),
  time: realTime,
  gauges: new GaugeBoard(),
  listener: { generated: () => undefined, scored: () => undefined },
  ...over,
});

const rewardOf = (handle: RewardActor["handle"]): RewardActor => ({ kind: "test", specificationVersion: 1, handle });

describe("a generation round", () => {
  it("I11: delivers whole groups in the order of issue, whatever order rewards finish in", async () => {
    const waiting: (() => void)[] = [];
    const reward = rewardOf(
      ({ rollout }) => new Promise((resolve) => waiting.push(() => resolve(scored(rollout.sampleIndex)))),
    );
    const running = runRound(issued(6), parts(reward), options(), new AbortController().signal);
    let finished = false;
    void running.then(() => {
      finished = true;
    });
    while (!finished) {
      // The latest to wait is answered first.
      waiting.pop()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const groups = await running;
    expect(groups.map((group) => group.task.id)).toEqual(["t0", "t1", "t2", "t3", "t4", "t5"]);
    for (const group of groups) expect(group.members.map((member) => member.rollout.sampleIndex)).toEqual([0, 1, 2, 3]);
  });

  it("keeps every queue within its bound and stops the sampler while rewards are slow (I4)", async () => {
    const gauges = new GaugeBoard();
    const waiting: (() => void)[] = [];
    const reward = rewardOf(() => new Promise((resolve) => waiting.push(() => resolve(scored(1)))));
    let sampled = 0;
    const sampler: Sampler = {
      ...echoSampler,
      sample: (request, settings) => {
        sampled += request.prompts.length;
        return echoSampler.sample(request, settings);
      },
    };
    const running = runRound(issued(100), parts(reward, { gauges }, sampler), options(), new AbortController().signal);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    // 2 groups queued, 3 rollouts with rewards, the rest of the second call waiting for room: no third call is made.
    expect(sampled).toBe(4);
    expect(gauges.read().find((gauge) => gauge.name === "rollouts")).toMatchObject({
      depth: 2 * GROUP,
      bound: 2 * GROUP,
      waitingProducers: 1,
    });
    let finished = false;
    void running.then(() => {
      finished = true;
    });
    while (!finished) {
      for (const answer of waiting.splice(0)) answer();
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const gauge of gauges.read()) expect(gauge.highWater).toBeLessThanOrEqual(gauge.bound);
    expect(gauges.read().find((gauge) => gauge.name === "rollouts")?.passed).toBe(400);
  });

  it("releases everything with the sampler's error", async () => {
    const failing: Sampler = { ...echoSampler, sample: () => Promise.reject(new Error("engine gone")) };
    await expect(
      runRound(
        issued(4),
        parts(
          rewardOf(async () => scored(1)),
          {},
          failing,
        ),
        options(),
        new AbortController().signal,
      ),
    ).rejects.toThrow("engine gone");
  });

  it("I5: an abort reaches the rewards in work and ends the round", async () => {
    const controller = new AbortController();
    const reached: string[] = [];
    const reward = rewardOf(
      ({ rollout }, { signal }) => new Promise(() => signal.addEventListener("abort", () => reached.push(rollout.id))),
    );
    const running = runRound(issued(2), parts(reward), options(), controller.signal);
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
    controller.abort(new Error("stopped by hand"));
    await expect(running).rejects.toThrow("stopped by hand");
    expect(reached).toHaveLength(3);
  });

  it("I12: keys of a sequence depend on seed, phase, task, visit and sample, not on the order of issue", () => {
    const [first, second] = issued(2);
    if (!first || !second) throw new Error("two tasks are needed");
    expect(rolloutSeeds(7, { ...first, visit: 0 }, GROUP)).toEqual(rolloutSeeds(7, { ...first, visit: 0 }, GROUP));
    const all = [
      rolloutSeeds(7, first, GROUP),
      rolloutSeeds(8, first, GROUP),
      rolloutSeeds(7, second, GROUP),
      rolloutSeeds(7, { ...first, visit: 1 }, GROUP),
      rolloutSeeds(7, { ...first, phase: 2 }, GROUP),
    ];
    expect(new Set(all.flat()).size).toBe(5 * GROUP);
  });
});

describe("the outcome of a reward", () => {
  it("I5: comes from a reward that may copy its options and still has the signal", async () => {
    const controller = new AbortController();
    let copied: AbortSignal | undefined;
    const outcome = outcomeWithin(
      (options) => {
        copied = { ...options }.signal;
        return new Promise(() => undefined);
      },
      60_000,
      controller.signal,
    );
    await Promise.resolve();
    await Promise.resolve();
    controller.abort(new Error("stopped"));
    await expect(outcome).rejects.toThrow("stopped");
    expect(copied?.aborted).toBe(true);
  });

  it("I1: that hangs is timedOut at the deadline, and its late answer is discarded", async () => {
    let ring: () => void = () => undefined;
    const timers = {
      set: (callback: () => void) => {
        ring = callback;
        return 1;
      },
      clear: () => undefined,
    };
    let answer: (outcome: RewardOutcome) => void = () => undefined;
    const outcome = outcomeWithin(
      () => new Promise((resolve) => (answer = resolve)),
      50,
      new AbortController().signal,
      timers,
    );
    await Promise.resolve();
    ring();
    answer(scored(1));
    expect(await outcome).toMatchObject({ kind: "timedOut", afterMs: 50 });
  });

  it("I1: that throws is failed, with code and reason", async () => {
    const outcome = await outcomeWithin(() => Promise.reject(new Error("boom")), 50, new AbortController().signal);
    expect(outcome).toEqual({ kind: "failed", code: "error", reason: "boom" });
  });

  it.each([[Number.NaN], [Number.POSITIVE_INFINITY]])("I7: of value %s is invalid", (value) => {
    expect(checkedOutcome(scored(value))).toMatchObject({ kind: "invalid" });
  });

  it("that is no outcome at all is invalid", () => {
    expect(checkedOutcome(0.5)).toMatchObject({ kind: "invalid" });
    expect(checkedOutcome(undefined)).toMatchObject({ kind: "invalid" });
  });
});
