import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { RewardActor } from "../../src/contracts/reward.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import { GaugeBoard } from "../../src/streams/gauges.js";
import { type IssuedTask, runRound } from "../../src/streams/rollout-stages.js";
import { realTime } from "../../src/system/time.js";
import { FIXED_POLICY, PLAIN_CAPABILITIES, wholeSpan } from "../helpers/sampling.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const GROUP = 8;
const TOKENS = 500;
const GROUPS = 400;
const QUEUE_GROUPS = 4;
const CONCURRENCY = 8;

/** A sampler that costs nothing and returns rollouts of some size. */
const sampler: Sampler = {
  kind: "null",
  specificationVersion: 2,
  capabilities: PLAIN_CAPABILITIES,
  ...FIXED_POLICY,
  sample: async ({ prompts }) => ({
    sequences: prompts.map(({ seeds }) =>
      seeds.map(() => ({
        tokenIds: Array.from({ length: TOKENS }, (_, t) => t),
        logprobs: new Array<number>(TOKENS).fill(-1.5),
        entropies: new Array<number>(TOKENS).fill(0.5),
        finish: "stop" as const,
        spans: wholeSpan(TOKENS),
      })),
    ),
    seconds: 0,
  }),
};

/** A reward that takes the given number of turns of the event loop. */
const rewardOf = (turns: number): RewardActor => ({
  kind: "slow",
  specificationVersion: 1,
  handle: async () => {
    for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
    return { kind: "scored", value: 1, parts: {}, prediction: null };
  },
});

async function measure(turns: number) {
  const gauges = new GaugeBoard();
  const issued: Omit<IssuedTask, "round">[] = Array.from({ length: GROUPS }, (_, sequence) => ({
    task: {
      id: `t${sequence}`,
      messages: [],
      document: null,
      goldAnswers: [""],
      source: "x",
      promptTokens: 1,
      meta: {},
    },
    promptIds: [1],
    phase: 1,
    step: 1,
    visit: 0,
    carried: false,
    sequence,
    attempt: 0,
  }));
  // Rollouts that have been sampled and not yet scored: what a slow reward could pile up.
  let sampled = 0;
  let scored = 0;
  let mostWaiting = 0;
  const listener = {
    generated: () => {
      sampled++;
      mostWaiting = Math.max(mostWaiting, sampled - scored);
    },
    scored: () => void scored++,
  };
  const reward = rewardOf(turns);
  const groups = await runRound(
    issued,
    { parts: () => ({ sampler, reward }), gauges, listener, time: realTime },
    {
      seed: 1,
      groupSize: GROUP,
      promptsPerCall: 2,
      queueGroups: QUEUE_GROUPS,
      rewardConcurrency: CONCURRENCY,
      rewardTimeoutMs: 60_000,
      callsInFlight: 1,
      policy: () => ({ exactly: 0 }),
      sampleTimeoutMs: 60_000,
      sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: TOKENS, stopIds: [] },
      shape: (reward) => reward,
      decode: () => "",
    },
    new AbortController().signal,
  );
  expect(groups).toHaveLength(GROUPS);
  return { gauges: gauges.read(), mostWaiting };
}

describe("a reward made ten times slower", () => {
  it("I4: leaves every queue within its bound, and no more rollouts waiting than before", async () => {
    const fast = await measure(1);
    const slow = await measure(10);
    for (const gauge of [...fast.gauges, ...slow.gauges])
      expect(gauge.highWater, gauge.name).toBeLessThanOrEqual(gauge.bound);
    // The queue, the rewards at work and the one rollout waiting for room: nothing else can hold an unscored rollout.
    const most = QUEUE_GROUPS * GROUP + CONCURRENCY + 1;
    expect(slow.mostWaiting).toBeLessThanOrEqual(most);
    expect(slow.gauges.find((gauge) => gauge.name === "rollouts")).toMatchObject({
      bound: QUEUE_GROUPS * GROUP,
      highWater: QUEUE_GROUPS * GROUP,
      passed: GROUPS * GROUP,
    });
  }, 60_000);

  it("leaves memory flat over many rounds", async () => {
    await measure(10);
    const used: number[] = [];
    for (let round = 0; round < 6; round++) {
      await measure(10);
      // What a turn of the event loop still holds goes first.
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
      collectGarbage();
      used.push(process.memoryUsage().heapUsed);
    }
    // A round's rollouts weigh about 40 MB; less than 1 MB may stay behind per round. On a busy machine a single reading may
    // find a round that is just being let go, hence the least of three; what stays behind for good is in all of them.
    const growth = (Math.min(...used.slice(3)) - Math.min(...used.slice(0, 3))) / 3;
    expect(growth / 2 ** 20).toBeLessThan(1);
  }, 120_000);
});
