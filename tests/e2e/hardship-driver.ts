import { setTimeout as wait } from "node:timers/promises";
import { createHybridReward } from "../../src/actors/reward/reward.js";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { ActorStatus } from "../../src/contracts/actor-status.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import { startEngine } from "../../src/model/engine/host.js";
import { createOpenAiJudge } from "../../src/rewards/judge/openai-judge.js";
import type { QueueGauge } from "../../src/streams/bounded-queue.js";
import { plainOptions } from "../rewards/judge-server.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/**
 * A control process of a tiny run with two sampler engines and overlap, under one hardship:
 * `node --expose-gc --import tsx hardship-driver.ts FOLDER ID STEPS HARDSHIP`, where HARDSHIP is JSON (`Hardship`).
 * The last line that it writes is an `Endured` as JSON. It ends by itself: what would keep it alive is a fault.
 */

export interface Hardship {
  /** Time that a reward takes, ms. */
  readonly rewardMs: number;
  /** Base URL of the judge of a hybrid reward; null rewards even token sums. */
  readonly judge: string | null;
  /** Sampler engines that are killed, one after another, as soon as all run. */
  readonly kills: number;
}

export interface Endured {
  readonly status: string;
  readonly runDirectory: string;
  /** Rewards by kind of outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly gauges: readonly QueueGauge[];
  readonly actors: readonly ActorStatus[];
  /** Process ids of every engine that was started. */
  readonly engines: readonly number[];
  readonly killed: number;
  /** Bytes in use after a collection, after each RL step. */
  readonly heap: readonly number[];
  readonly seconds: number;
}

const SAMPLERS = 2;
/** RL steps from one kill to the next, at least. */
const STEPS_BETWEEN = 4;
/** Short, so that a judge that hangs costs the test little time. */
const JUDGE_TIMEOUT_MS = 800;

const [folder = "", id = "", steps = "", hardship = ""] = process.argv.slice(2);
const { rewardMs, judge, kills }: Hardship = JSON.parse(hardship);

/** Half of the answers are ones that the judge accepts and the rule does not. */
function judgedReward(url: string): RewardActor {
  const hybrid = createHybridReward({
    mode: "paper",
    requireThink: false,
    judge: createOpenAiJudge({
      ...plainOptions(url),
      ...{ timeoutMs: JUDGE_TIMEOUT_MS, retries: 0, concurrency: 8 },
    }),
  });
  return {
    ...hybrid,
    handle: (input, options) => {
      const even = input.rollout.tokenIds.reduce((sum, token) => sum + token, 0) % 2 === 0;
      const text = `Therefore, the answer is ${even ? "the capital of Norway" : "Paris"}.`;
      return hybrid.handle({ ...input, rollout: { ...input.rollout, text } }, options);
    },
  };
}

const outcomes: Record<string, number> = {};
const scoring = judge === null ? parityReward : judgedReward(judge);
const reward: RewardActor = {
  ...scoring,
  handle: async (input, options) => {
    await wait(rewardMs, undefined, { signal: options.signal });
    const outcome = await scoring.handle(input, options);
    outcomes[outcome.kind] = (outcomes[outcome.kind] ?? 0) + 1;
    return outcome;
  },
};

const base = await tinyConfig({}, folder);
const engines: number[] = [];
const system = createTrainingSystem(
  {
    ...base,
    run: { ...base.run, id },
    phases: [{ maxTokens: 300, steps: Number(steps) }],
    rollout: { ...base.rollout, promptsPerCall: 1, engines: SAMPLERS, queueGroups: 4 },
    reward: { concurrency: 4 },
    async: { maxLag: 2 },
    // A judge that hangs leaves groups unscored: the step draws others for as long as that takes.
    dynamicSampling: { maxRounds: 20 },
    // A policy that learns its reward gives equal ones, which nothing can be trained on.
    optimiser: { learningRate: 1e-6 },
    update: { ...base.update, oldLogprobs: "recompute", correction: { importance: "token" } },
    checkpoint: { everySteps: 10 },
  },
  {
    actors: {
      reward,
      engine: async (modelDir, options, signal) => {
        const engine = await startEngine({ modelDir, options, ...(signal ? { signal } : {}) });
        engines.push(engine.info.pid);
        return engine;
      },
    },
  },
);

let killed = 0;
let gauges: readonly QueueGauge[] = [];
let actors: readonly ActorStatus[] = [];
const heap: number[] = [];
system.gauges$.subscribe((reading) => {
  gauges = reading;
});
system.actors$.subscribe((reading) => {
  actors = reading;
});
system.facts$.subscribe(({ type }) => {
  if (type !== "step.committed") return;
  (globalThis as { gc?: () => void }).gc?.();
  heap.push(process.memoryUsage().heapUsed);
  // The first engine is the trainer's; those of samplers follow in the order of their start.
  const running = engines.length === 1 + SAMPLERS + killed;
  if (killed >= kills || !running || heap.length % STEPS_BETWEEN !== 0) return;
  process.kill(engines[1 + killed] as number, "SIGKILL");
  killed++;
});
const started = performance.now();
await system.start();
const { status, runDirectory } = await system.done;
const seconds = (performance.now() - started) / 1000;
const endured: Endured = { status, runDirectory, outcomes, gauges, actors, engines, killed, heap, seconds };
process.stdout.write(`${JSON.stringify(endured)}\n`);
