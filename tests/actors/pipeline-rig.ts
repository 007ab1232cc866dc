import { createActor } from "xstate";
import { createGrpoAdvantage } from "../../src/actors/advantage/advantage.js";
import { createVarianceFilter } from "../../src/actors/filter/filter.js";
import { createFiniteGuard } from "../../src/actors/guard/guard.js";
import type { RunParts } from "../../src/actors/parts/part-kinds.js";
import { pipelineMachine } from "../../src/actors/pipeline/pipeline-machine.js";
import { TrainingPipeline } from "../../src/actors/pipeline/training-pipeline.js";
import { PolicyPublisher } from "../../src/actors/update/publisher.js";
import type { UpdateResult } from "../../src/actors/update/update.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { CurriculumObservation } from "../../src/contracts/curriculum.js";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { LedgerEntry } from "../../src/contracts/ledger.js";
import type { PolicyVersion } from "../../src/contracts/policy-version.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import type { SampleRequest } from "../../src/contracts/sampler.js";
import { GaugeBoard } from "../../src/streams/gauges.js";
import type { GroupWorkers } from "../../src/streams/group-workers.js";
import { createFakePolicyStore, createFakeSampler, createFakeTrainer, fakeVersion, scored } from "../../src/testing.js";
import { taskOf } from "../helpers/groups.js";
import { settled, VirtualTime } from "../helpers/virtual-time.js";

/** A pipeline over scripted parts, in memory, on virtual time. Task n has the prompt [n + 1] and is picked n-th. */

export interface RigOptions {
  /** 500 when left out. */
  readonly tasks?: number;
  readonly config?: Partial<ConfigInput>;
  /** The sampler reads the trainer's own weights. */
  readonly shared?: boolean;
  readonly parts?: Partial<RunParts>;
  /** Reward of a rollout; null fails it. */
  readonly reward?: (rollout: Rollout, signal: AbortSignal) => number | null | Promise<number | null>;
  /** Waited for after a call has been answered and before its answer is given. */
  readonly sampling?: (request: SampleRequest, signal: AbortSignal) => Promise<void> | undefined;
  readonly adopting?: (version: PolicyVersion, signal: AbortSignal) => Promise<void> | undefined;
  readonly updating?: (kept: readonly SampleGroup[], signal: AbortSignal) => Promise<void> | undefined;
  readonly publishing?: (signal: AbortSignal) => Promise<void> | undefined;
  /** Draw and score in place of the rig's own sampler and reward. */
  readonly workers?: (parts: RunParts) => GroupWorkers;
}

const NOTHING_ODD: UpdateResult = {
  values: {},
  prepared: null,
  klSeconds: null,
  updates: [],
  mismatch: null as never,
  offPolicy: null as never,
  rollouts: new Map(),
  rejected: new Set(),
  contributions: [],
  refused: [],
  moved: new Set(),
  judged: [],
};

export function createRig(options: RigOptions = {}) {
  const { shared = false } = options;
  const config = parseConfig({
    model: { path: "none" },
    data: { train: ["none"] },
    phases: [{ maxTokens: 64, steps: 1_000 }],
    stages: { restartDelayMs: 100 },
    ...options.config,
    rollout: { groupSize: 2, promptsPerStep: 2, promptsPerCall: 1, maxTokens: 2, ...options.config?.rollout },
  });
  const entries: Omit<LedgerEntry, "schema_version">[] = [];
  const requests: SampleRequest[] = [];
  const observed: CurriculumObservation[] = [];
  const at = { step: 1, phase: 1, picked: 0 };
  const parts = partsOf(options, shared, requests, observed, at);
  const current = { parts };
  const policies = new PolicyPublisher(() => current.parts);
  const gauges = new GaugeBoard();
  const time = new VirtualTime();
  const workers = options.workers?.(parts) ?? null;
  const pipeline = new TrainingPipeline({
    ...{ config, time, policies, gauges, workers },
    tasks: new Map(
      Array.from(
        { length: options.tasks ?? 500 },
        (_, n) => [`t${n}`, { task: taskOf(`t${n}`), promptIds: [n + 1] }] as const,
      ),
    ),
    parts: () => current.parts,
    ledger: (entry) => entries.push(entry),
    phase: () => at.phase,
    stepsLeft: () => 1_000 - at.step,
    step: () => at.step,
    rollout: () => ({
      ...{ seed: 7, groupSize: config.rollout.groupSize, queueGroups: 4, rewardConcurrency: 4 },
      callsInFlight: config.rollout.callsInFlight ?? 1,
      ...{ rewardTimeoutMs: 1_000, sampleTimeoutMs: 1_000 },
      sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 2, stopIds: [0] },
      shape: (value) => value,
      decode: () => "",
    }),
    update: async (kept, _batch, _policy, signal) => {
      await options.updating?.(kept, signal);
      if (kept.length === 0) return NOTHING_ODD;
      await parts.trainer.forwardBackward(NO_GRADIENT, { signal });
      const { applied } = await parts.trainer.optimStep(null as never, { signal });
      return { ...NOTHING_ODD, updates: [{ applied } as never] };
    },
    changed: () => undefined,
  });
  const supervisor = createActor(pipelineMachine, {
    input: pipeline.input,
    clock: {
      setTimeout: (call: () => void, ms: number) => time.set(call, ms),
      clearTimeout: (id) => time.clear(id as object),
    },
  });
  supervisor.start();
  return {
    ...{ config, pipeline, policies, gauges, time, supervisor, entries, requests, observed, at, current },
    /** One RL step as the run does it. */
    async step(signal: AbortSignal = new AbortController().signal) {
      if (config.async.maxLag === 0 || !policies.isAdopted) await policies.current(signal);
      const trained = await pipeline.step(signal);
      at.step++;
      return trained;
    },
    /** Rollouts by end state; throws for one that ended twice or was never issued, and for one issued twice. */
    ends: () => endsOf(entries),
    open: () => new Set(entries.map(({ rolloutId }) => rolloutId)).size - endsOf(entries).size,
  };
}

const NO_GRADIENT = {
  groups: [],
  denominators: { tokens: 1, sequences: 1 },
  loss: { name: "grpo" },
  oldPolicy: null,
} as never;

function partsOf(
  options: RigOptions,
  shared: boolean,
  requests: SampleRequest[],
  observed: CurriculumObservation[],
  at: { picked: number },
): RunParts {
  const [trained, drawn] = [{ n: 0, changed: false }, { n: 0 }];
  const trainer = createFakeTrainer(trained);
  const sampler = createFakeSampler({}, shared ? trained : drawn);
  const form = shared ? "handle" : "checkpoint";
  return {
    advantage: createGrpoAdvantage(),
    filter: createVarianceFilter(),
    guard: createFiniteGuard(),
    loss: null as never,
    reward: {
      kind: "rig",
      specificationVersion: 1,
      handle: async ({ rollout }, { signal }) => {
        const given = options.reward ? await options.reward(rollout, signal) : rollout.sampleIndex % 2;
        return given === null ? { kind: "failed", code: "x", reason: "y" } : scored(given);
      },
    },
    curriculum: {
      kind: "rig",
      specificationVersion: 1,
      setup: () => undefined,
      next: () => ({ taskId: `t${at.picked++}`, carried: false, visit: 0 }),
      observe: (one) => void observed.push(one),
      decide: ({ phase }) => ({ action: "hold", phase, nextPhase: null, reason: "", evidence: {} }),
      snapshot: () => null,
      restore: () => undefined,
    },
    sampler: {
      ...sampler,
      capabilities: { ...sampler.capabilities, adopts: [form] },
      async sample(request, { signal }) {
        requests.push(request);
        const reply = await sampler.sample(request, { signal });
        await options.sampling?.(request, signal);
        return reply;
      },
      async adopt(policy, how) {
        await options.adopting?.(policy.version, how.signal);
        await sampler.adopt(policy, how);
      },
    },
    trainer: {
      ...trainer,
      capabilities: { ...trainer.capabilities, publishes: [form] },
      async publish({ signal }) {
        await options.publishing?.(signal);
        if (trained.changed) trained.n++;
        trained.changed = false;
        return { version: fakeVersion(trained.n), artifact: { kind: form, uri: `memory:${trained.n}` }, bytes: 1 };
      },
    },
    policyStore: createFakePolicyStore("memory:"),
    ...options.parts,
  };
}

function endsOf(entries: readonly Omit<LedgerEntry, "schema_version">[]): Map<string, string> {
  const ends = new Map<string, string>();
  const open = new Set<string>();
  for (const { rolloutId, state, reason } of entries) {
    if (state === "issued") {
      if (open.has(rolloutId) || ends.has(rolloutId)) throw new Error(`${rolloutId} was issued twice`);
      open.add(rolloutId);
    } else if (state === "trained" || state === "dropped") {
      if (!open.delete(rolloutId)) throw new Error(`${rolloutId} ended twice or was never issued`);
      ends.set(rolloutId, reason ?? state);
    }
  }
  return ends;
}

/** Waits until `test` holds; a test's own limit of time ends it where it never does. */
export async function until(test: () => boolean): Promise<void> {
  while (!test()) await settled();
}

/** Waits to be let go; rejects when the signal aborts, unless it is deaf. */
export function gate(deaf = false) {
  let pass: () => void = () => undefined;
  let reached = false;
  const opened = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return {
    open: () => pass(),
    reached: () => reached,
    wait: (signal: AbortSignal): Promise<void> => {
      reached = true;
      if (deaf) return opened;
      return new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        void opened.then(resolve);
      });
    },
  };
}
