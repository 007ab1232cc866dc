/** Scripted members of a pool: every start, load and call waits until the test answers it, and any of them can be lost. */

import type { StartedSampler } from "../../../src/actors/rollout/sampler-member.js";
import { SamplerPool, type SamplerPoolOptions } from "../../../src/actors/rollout/sampler-pool.js";
import type { PublishedPolicy } from "../../../src/contracts/published-policy.js";
import type { PolicyWanted, SampleReply, SampleRequest, SamplerCapabilities } from "../../../src/contracts/sampler.js";
import { WeirError } from "../../../src/errors.js";
import { fakeVersion } from "../../../src/testing.js";
import { VirtualTime } from "../../helpers/virtual-time.js";

export const CAPABILITIES: SamplerCapabilities = {
  logprobBasis: "scaled",
  seeds: "per-sequence",
  tokenVersions: false,
  adopts: ["handle", "checkpoint"],
  heldVersions: 1,
  entropies: true,
  abort: true,
};

/** A wait of an incarnation for the test's answer. */
interface Waiting<T> {
  readonly on: Incarnation;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export interface WaitingCall extends Waiting<void> {
  readonly request: SampleRequest;
  readonly signal: AbortSignal;
}

export interface WaitingLoad extends Waiting<void> {
  readonly policy: PublishedPolicy;
  readonly inFlight: string;
}

/** One start of a member. */
export class Incarnation {
  version = 0;
  closed = false;
  exit: (reason: string) => void = () => undefined;
  readonly started: StartedSampler;

  constructor(
    readonly slot: number,
    stage: Stage,
  ) {
    const exited = new Promise<{ expected: boolean; reason: string }>((resolve) => {
      this.exit = (reason) => resolve({ expected: false, reason });
    });
    this.started = {
      exited,
      pid: null,
      close: async () => {
        this.closed = true;
      },
      sampler: {
        kind: "scripted",
        specificationVersion: 2,
        capabilities: { ...CAPABILITIES, ...stage.capabilities },
        sample: async (request, { signal }) => {
          await new Promise<void>((resolve, reject) => {
            stage.calls.push({ on: this, request, signal, resolve, reject });
            if (!stage.deaf) signal.addEventListener("abort", () => reject(aborted()), { once: true });
          });
          return replyOf(request, this);
        },
        adopt: async (policy, { inFlight }) => {
          await new Promise<void>((resolve, reject) => {
            stage.loads.push({ on: this, policy, inFlight, resolve, reject });
          });
          this.version = policy.version.n;
        },
        release: async () => undefined,
        load: async () => ({ running: 0, waiting: 0, cacheUse: null, versions: [this.version] }),
      },
    };
  }
}

/** Where members are started, and what they wait for. */
export class Stage {
  readonly time = new VirtualTime();
  readonly incarnations: Incarnation[] = [];
  readonly calls: WaitingCall[] = [];
  readonly loads: WaitingLoad[] = [];
  readonly changes: string[] = [];
  readonly pool: SamplerPool;
  /** Members ignore their signals. */
  deaf = false;
  capabilities: Partial<SamplerCapabilities> = {};
  /** Starts that fail, by number of the start. */
  failing: (start: number, slot: number) => boolean = () => false;
  private starts = 0;

  constructor(members: number, over: Partial<SamplerPoolOptions> = {}) {
    this.pool = new SamplerPool({
      members,
      time: this.time,
      maxRestarts: 2,
      restartDelayMs: 100,
      startTimeoutMs: 1_000,
      adoptTimeoutMs: 2_000,
      callTimeoutMs: 5_000,
      start: async (slot, signal) => {
        this.starts += 1;
        if (this.failing(this.starts, slot)) throw new Error("no such model");
        signal.throwIfAborted();
        const one = new Incarnation(slot, this);
        this.incarnations.push(one);
        return one.started;
      },
      ...over,
    });
    this.pool.onChange(({ actor, state, reason, restarts }) =>
      this.changes.push(`${actor} ${state} ${restarts} ${reason ?? "-"}`),
    );
  }

  /** Answers the oldest waiting call of a member. */
  answer(slot: number): void {
    this.take(this.calls, slot).resolve();
  }

  loaded(slot: number): void {
    this.take(this.loads, slot).resolve();
  }

  take<T extends Waiting<void>>(from: T[], slot: number): T {
    const at = from.findIndex(({ on }) => on.slot === slot);
    if (at < 0) throw new Error(`member ${slot} has nothing that waits`);
    return from.splice(at, 1)[0] as T;
  }

  /** Members that have a call in work, and for which request. */
  atWork(): string[] {
    return this.calls.map(({ on, request }) => `${on.slot}:${request.id}`);
  }

  ask(id: string, policy: PolicyWanted | null = null, signal = new AbortController().signal): Promise<SampleReply> {
    const sampled = this.pool.sample(
      {
        id,
        prompts: [{ promptIds: [1, 2], seeds: [7] }],
        params: { temperature: 1, topP: 1, topK: 0, maxTokens: 4, stopIds: [] },
        policy,
        purpose: "training",
        deadlineMs: 12_000,
      },
      { signal },
    );
    sampled.catch(() => undefined);
    return sampled;
  }

  adopt(n: number, inFlight: "keep" | "wait" | "abort" = "wait"): Promise<void> {
    const adopted = this.pool.adopt(policyOf(n), { signal: new AbortController().signal, inFlight });
    adopted.catch(() => undefined);
    return adopted;
  }
}

export function policyOf(n: number): PublishedPolicy {
  return { version: fakeVersion(n), artifact: { kind: "checkpoint", uri: `/policies/v${n}` }, bytes: 1 };
}

function replyOf({ prompts }: SampleRequest, { version }: Incarnation): SampleReply {
  const spans = [{ version, sha256: fakeVersion(version).sha256, start: 0, end: 1 }];
  const sequences = prompts.map(({ seeds }) =>
    seeds.map((seed) => ({ tokenIds: [seed], logprobs: [-1], entropies: [0.5], finish: "stop" as const, spans })),
  );
  return { sequences, seconds: 0 };
}

function aborted(): WeirError {
  return new WeirError("WEIR_E_ENGINE_ABORTED", "cancelled");
}
