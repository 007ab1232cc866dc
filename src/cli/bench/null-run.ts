/** A run's pipeline over parts that cost next to nothing, in memory: what is left is the pipeline itself. */
import { createActor } from "xstate";
import { createGrpoAdvantage } from "../../actors/advantage/advantage.js";
import { createVarianceFilter } from "../../actors/filter/filter.js";
import { createFiniteGuard } from "../../actors/guard/guard.js";
import type { RunParts } from "../../actors/parts/part-kinds.js";
import { pipelineMachine } from "../../actors/pipeline/pipeline-machine.js";
import { TrainingPipeline } from "../../actors/pipeline/training-pipeline.js";
import { correctionOf } from "../../actors/run/off-policy.js";
import { policyLoss, rlOptimiser, rolloutSampling } from "../../actors/run/rl-step.js";
import { PolicyPublisher } from "../../actors/update/publisher.js";
import { updatePolicy } from "../../actors/update/update.js";
import { parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import type { CurriculumActor } from "../../contracts/curriculum.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { RewardActor } from "../../contracts/reward.js";
import type { SampledSequence, Sampler } from "../../contracts/sampler.js";
import { createBuiltInLoss } from "../../losses/built-in.js";
import { lossSettings } from "../../losses/settings.js";
import { GaugeBoard } from "../../streams/gauges.js";
import type { IssuedTask } from "../../streams/rollout-stages.js";
import { realTime } from "../../system/time.js";
import { createFakePolicyStore, createFakeTrainer, type FakeWeights, fakeVersion } from "../../testing/fake-engine.js";

export interface NullRunSize {
  /** Groups of an RL step. */
  readonly prompts: number;
  /** Samples of a group. */
  readonly group: number;
  /** Tokens of a sample. */
  readonly tokens: number;
  readonly maxLag: number;
}

export interface NullRun {
  readonly gauges: GaugeBoard;
  /** Runs one RL step; resolves to the number of samples that were trained on. */
  step(signal: AbortSignal): Promise<number>;
  /** Ledger entries so far, by state. */
  readonly entries: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

const TASKS = 64;

export function createNullRun(size: NullRunSize): NullRun {
  const config = configOf(size);
  const weights: FakeWeights = { n: 0 };
  const tasks = nullTasks();
  const parts = nullParts(weights, [...tasks.keys()], size.tokens);
  const gauges = new GaugeBoard();
  const policies = new PolicyPublisher(() => parts);
  const entries = new Map<string, number>();
  let step = 1;
  const pipeline = new TrainingPipeline({
    ...{ config, tasks, policies, gauges },
    time: realTime,
    parts: () => parts,
    ledger: ({ state }) => void entries.set(state, (entries.get(state) ?? 0) + 1),
    phase: () => 1,
    stepsLeft: () => Number.POSITIVE_INFINITY,
    step: () => step,
    rollout: () => rolloutOf(config),
    update: (kept, _batch, policy, signal) => update(config, parts, kept, { step, policy }, signal),
    changed: () => undefined,
  });
  const supervisor = createActor(pipelineMachine, { input: pipeline.input });
  supervisor.start();
  return {
    gauges,
    entries,
    async step(signal) {
      if (config.async.maxLag === 0 || !policies.isAdopted) await policies.current(signal);
      const { kept } = await pipeline.step(signal);
      step++;
      return kept.reduce((sum, { samples }) => sum + samples.length, 0);
    },
    async stop() {
      await pipeline.halt("aborted");
      supervisor.stop();
    },
  };
}

function configOf({ prompts, group, tokens, maxLag }: NullRunSize): Config {
  return parseConfig({
    model: { path: "null" },
    data: { train: ["null"] },
    phases: [{ maxTokens: 64, steps: 1 }],
    rollout: { groupSize: group, promptsPerStep: prompts, promptsPerCall: Math.min(8, prompts), maxTokens: tokens },
    update: maxLag === 0 ? {} : { correction: { importance: "token" } },
    async: { maxLag },
  });
}

function rolloutOf(config: Config) {
  const { rollout, reward, run, engine } = config;
  return {
    seed: run.seed,
    groupSize: rollout.groupSize,
    queueGroups: rollout.queueGroups,
    callsInFlight: rollout.callsInFlight ?? 1,
    rewardConcurrency: reward.concurrency,
    rewardTimeoutMs: reward.timeoutMs,
    sampleTimeoutMs: engine.requestTimeoutMs,
    sampling: rolloutSampling(config, [0]),
    shape: (value: number) => value,
    decode: () => "",
  };
}

function nullTasks(): Map<string, Pick<IssuedTask, "task" | "promptIds">> {
  const ids = Array.from({ length: TASKS }, (_, i) => `task-${i}`);
  const task = { messages: [], document: null, goldAnswers: [""], source: "null", promptTokens: 4, meta: {} };
  return new Map(ids.map((id) => [id, { task: { ...task, id }, promptIds: [1, 2, 3, 4] }]));
}

function nullParts(weights: FakeWeights, tasks: readonly string[], tokens: number): RunParts {
  return {
    advantage: createGrpoAdvantage(),
    reward: nullReward,
    curriculum: nullCurriculum(tasks),
    loss: createBuiltInLoss("grpo", lossSettings(null)),
    sampler: nullSampler(weights, tokens),
    trainer: createFakeTrainer(weights),
    policyStore: createFakePolicyStore(),
    filter: createVarianceFilter(),
    guard: createFiniteGuard(),
  };
}

/** Half of each group's samples are right. */
const nullReward: RewardActor = {
  kind: "null",
  specificationVersion: 1,
  handle: async ({ rollout }) => ({ kind: "scored", value: rollout.sampleIndex % 2, parts: {}, prediction: null }),
};

/** Every task in turn, one phase without end. */
function nullCurriculum(tasks: readonly string[]): CurriculumActor {
  let picked = 0;
  return {
    kind: "null",
    specificationVersion: 1,
    setup: () => undefined,
    next: () => {
      const visit = Math.floor(picked / tasks.length);
      return { taskId: tasks[picked++ % tasks.length] as string, carried: false, visit };
    },
    observe: () => undefined,
    decide: ({ phase }) => ({ action: "hold", phase, nextPhase: null, reason: "null", evidence: {} }),
    snapshot: () => null,
    restore: () => undefined,
  };
}

/** The same tokens for every seed. */
function nullSampler(weights: FakeWeights, tokens: number): Sampler {
  const tokenIds = Array.from({ length: tokens }, (_, t) => t + 1); // [T]
  const logprobs = tokenIds.map(() => -1); // [T]
  const entropies = tokenIds.map(() => 0.5); // [T]
  let adopted: PolicyVersion = fakeVersion(weights.n);
  return {
    kind: "null",
    specificationVersion: 2,
    capabilities: {
      logprobBasis: "scaled",
      seeds: "per-sequence",
      tokenVersions: false,
      adopts: ["handle"],
      heldVersions: 1,
      entropies: true,
      abort: true,
    },
    async sample({ prompts }) {
      const spans = [{ version: adopted.n, sha256: adopted.sha256, start: 0, end: tokens }];
      const sequence: SampledSequence = { tokenIds, logprobs, entropies, finish: "stop", spans };
      return { sequences: prompts.map(({ seeds }) => seeds.map(() => sequence)), seconds: 0 };
    },
    async adopt({ version }) {
      adopted = version;
    },
    release: async () => undefined,
    load: async () => ({ running: 0, waiting: 0, cacheUse: null, versions: [adopted.n] }),
  };
}

function update(
  config: Config,
  parts: RunParts,
  kept: Parameters<typeof updatePolicy>[1],
  { step, policy }: { readonly step: number; readonly policy: PolicyVersion },
  signal: AbortSignal,
) {
  return updatePolicy(
    parts.trainer,
    kept,
    {
      ...config.update,
      ...policyLoss(config, parts.loss),
      ...{ step, phase: 1, policy, optimiser: rlOptimiser(config, step), guard: parts.guard },
      comparable: true,
      maxLag: config.async.maxLag,
      correction: correctionOf(config),
      referenceShare: 0,
      trial: false,
      now: () => realTime.now(),
      known: { groups: [], phases: [], values: {}, contributions: [] },
    },
    signal,
  );
}
