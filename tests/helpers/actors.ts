/** Actors of a supervision tree, as tests show them. */
import type { ActorStatus } from "../../src/contracts/actor-status.js";

/** An actor that runs and has done nothing yet. */
export const actor = (name: string, change: Partial<ActorStatus> = {}): ActorStatus => ({
  name,
  parent: "run",
  state: "running",
  workers: 1,
  busy: 0,
  handled: 0,
  dropped: 0,
  restarts: 0,
  queue: null,
  policyVersion: null,
  detail: null,
  ...change,
});

/** The stages of a pipeline in the order of flow, each with the queue that is its mailbox. */
export const STAGES = ["rollout", "reward", "group", "filter", "batch", "advantage", "update", "publish"] as const;

/** A run with its engine, its stages and three samplers, everything at work. */
export const wholeTree = (change: Readonly<Record<string, Partial<ActorStatus>>> = {}): readonly ActorStatus[] =>
  [
    actor("run", { parent: null, busy: 1, handled: 12 }),
    actor("engine", { busy: 1, handled: 131, policyVersion: 12 }),
    ...STAGES.map((name, i) =>
      actor(name, {
        workers: i < 2 ? 4 : 1,
        busy: i < 2 ? 3 : 1,
        handled: 4_000 - 500 * i,
        dropped: name === "filter" ? 37 : 0,
        queue: `${name}-in`,
        policyVersion: name === "update" ? 12 : null,
      }),
    ),
    ...[1, 2, 3].map((n) =>
      actor(`sampler-${n}`, { parent: "rollout", busy: 1, handled: 1_300 + n, policyVersion: 11 }),
    ),
  ].map((one) => ({ ...one, ...change[one.name] }));

/** The mailboxes of those stages, `depth` of 8 in each. */
export const mailboxes = (depth = 3) =>
  STAGES.map((name, i) => ({
    name: `${name}-in`,
    bound: 8,
    depth: name === "reward" ? 8 : depth,
    highWater: name === "reward" ? 8 : 8 - (i % 3),
    waitingProducers: name === "reward" ? 2 : 0,
    waitingConsumers: 0,
    passed: 4_000 - 500 * i,
  }));
