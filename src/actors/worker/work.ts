/**
 * A worker: takes groups from a work queue, brings the policy that each wants to its sampler, draws, scores, and hands the results back.
 * Invariants: a lease is extended while its group is in work; a group that this worker does not finish goes back to the queue at once,
 * or by itself where the worker is killed; a worker that only fails stops, so that it does not use up the deliveries of every group;
 * one whose reward takes no work takes no group.
 */
import type { GroupResult, GroupTask } from "../../contracts/group-work.js";
import type { PolicySource } from "../../contracts/policy-source.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { ReadinessState } from "../../contracts/readiness.js";
import type { RewardActor, RewardOutcome } from "../../contracts/reward.js";
import type { PolicyWanted, SampledSequence, Sampler } from "../../contracts/sampler.js";
import type { Lease, WorkQueue } from "../../contracts/work-queue.js";
import { WeirError } from "../../errors.js";
import { ReadyGate } from "../../streams/ready-gate.js";
import { rolloutOf } from "../../streams/rollout-stages.js";
import { scoreRollout } from "../../streams/scoring.js";
import { pause } from "../../system/pause.js";
import type { Time } from "../../system/time.js";

export interface WorkerParts {
  readonly queue: WorkQueue<GroupTask, GroupResult>;
  readonly sampler: Sampler;
  readonly reward: RewardActor;
  /** Null where somebody else brings the policies to the sampler. */
  readonly policies: PolicySource | null;
  /** Text of token ids, special tokens kept. */
  readonly decode: (ids: readonly number[]) => string;
}

export interface WorkerOptions {
  /** Names it in results and logs. */
  readonly name: string;
  /** Calls that are in work at once: while one is scored, another is drawn. */
  readonly lanes: number;
  /** Groups that are drawn in one sampler call. */
  readonly groupsPerCall: number;
  /** Rewards of one call that are computed at once. */
  readonly rewardConcurrency: number;
  readonly time: Time;
  /** The reward takes no work from now on, so that no group is taken; or it does again. */
  readonly onHeld?: (state: ReadinessState) => void;
  readonly onDone?: (groupId: string, result: GroupResult) => void;
  readonly onFault?: (error: unknown, groupIds: readonly string[]) => void;
}

/** How a worker is told to stop. */
export interface WorkerSignals {
  /** Takes no more, and ends once what is in work is done. */
  readonly drain: AbortSignal;
  /** Gives back what is in work. */
  readonly abort: AbortSignal;
}

type GroupLease = Lease<GroupTask, GroupResult>;

/** Calls of a lane that fail one after another before the worker takes itself for broken. */
const FAULTS_IN_ROW = 3;
/** Wait before a group that failed here is delivered again, ms. */
const RETRY_MS = 1_000;
/** A lease is extended this often within its time. */
const SIGNS_OF_LIFE = 3;
/** Least time between two, ms. */
const SHORTEST_SIGN_MS = 50;

/** Works until it is told to stop. Errors: what `FAULTS_IN_ROW` calls failed with; those of the queue. */
export async function work(parts: WorkerParts, options: WorkerOptions, signals: WorkerSignals): Promise<void> {
  const policies = new PolicyChange(parts);
  const broken = new AbortController();
  const gate = new ReadyGate({ readiness: () => parts.reward.readiness, time: options.time });
  let closing = new AbortController();
  gate.onChange((state) => {
    if (state.ready) closing = new AbortController();
    else closing.abort();
    options.onHeld?.(state);
  });
  const lane = async () => {
    let faults = 0;
    const drain = AbortSignal.any([signals.drain, signals.abort, broken.signal]);
    while (!drain.aborted) {
      // Others may have a judge that answers: nothing is taken that could not be scored here.
      if (!gate.isOpen) await gate.opened(drain).catch(() => undefined);
      const leases = await parts.queue.take({
        max: options.groupsPerCall,
        signal: AbortSignal.any([drain, closing.signal]),
      });
      if (leases.length === 0) continue;
      const failure = await new Call(parts, options, policies, gate, signals.abort).run(leases);
      faults = failure === null ? 0 : faults + 1;
      if (faults < FAULTS_IN_ROW) continue;
      throw failure;
    }
  };
  const stopping = async () => {
    try {
      await lane();
    } catch (error) {
      broken.abort();
      throw error;
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: options.lanes }, stopping));
  gate.rest();
  for (const one of ended) if (one.status === "rejected") throw one.reason;
}

/** Brings policies to the sampler, one after another; a sampler of one version is not taken away from a call. */
class PolicyChange {
  private held: PublishedPolicy | null = null;
  private users = 0;
  private changing: Promise<unknown> = Promise.resolve();
  private idle: (() => void)[] = [];

  constructor(private readonly parts: WorkerParts) {}

  /** Does `work` with a policy that fits. Errors: those of source, sampler and work. */
  async using<T>(wanted: PolicyWanted, signal: AbortSignal, work: (policy: PolicyWanted) => Promise<T>): Promise<T> {
    const { policies } = this.parts;
    if (policies === null) return work(wanted);
    const getting = this.changing.then(() => this.change(policies, wanted, signal));
    this.changing = getting.catch(() => undefined);
    const { version } = await getting;
    try {
      return await work({ exactly: version.n });
    } finally {
      this.users -= 1;
      if (this.users === 0) for (const wake of this.idle.splice(0)) wake();
    }
  }

  private async change(policies: PolicySource, wanted: PolicyWanted, signal: AbortSignal): Promise<PublishedPolicy> {
    signal.throwIfAborted();
    const policy = await policies.get(wanted, { signal });
    const before = this.held;
    if (before === null || !isSame(before, policy)) {
      while (this.users > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
      signal.throwIfAborted();
      this.held = null;
      await this.parts.sampler.adopt(policy, { signal, inFlight: "wait" });
      if (before !== null && before.version.n !== policy.version.n)
        await this.parts.sampler.release(before.version.n, { signal });
      this.held = policy;
      await policies.keep(new Set([policy.version.n]));
    }
    this.users += 1;
    return policy;
  }
}

/** What is done with the leases that were taken together. */
class Call {
  private readonly own = new AbortController();
  private readonly held = new Set<GroupLease>();

  constructor(
    private readonly parts: WorkerParts,
    private readonly options: WorkerOptions,
    private readonly policies: PolicyChange,
    private readonly gate: ReadyGate,
    private readonly stop: AbortSignal,
  ) {}

  /** Never rejects; gives what went wrong, or null. */
  async run(leases: readonly GroupLease[]): Promise<unknown> {
    for (const lease of leases) this.held.add(lease);
    const signal = AbortSignal.any([this.stop, this.own.signal]);
    const alive = this.keepAlive(signal);
    let failure: unknown = null;
    for (const some of together(leases)) {
      try {
        await this.carryOut(some, signal);
      } catch (error) {
        const groups = some.filter((lease) => this.held.has(lease));
        await this.giveBack(groups);
        // Nothing is wrong with a worker that was stopped, or was too slow.
        if (signal.aborted || isExpired(error)) continue;
        failure = error;
        this.options.onFault?.(
          error,
          groups.map(({ task }) => task.groupId),
        );
      }
    }
    this.own.abort();
    await alive;
    return failure;
  }

  private async carryOut(leases: readonly GroupLease[], signal: AbortSignal): Promise<void> {
    const [first] = leases;
    if (first === undefined) return;
    signal.throwIfAborted();
    const { policy, sampling, sampleTimeoutMs } = first.task;
    const reply = await this.policies.using(policy, signal, (version) =>
      this.parts.sampler.sample(
        {
          // A name is never used again for another try.
          id: `${first.id}+${leases.length}#${first.attempt}`,
          prompts: leases.map(({ task: { promptIds, seeds } }) => ({ promptIds, seeds })),
          params: sampling,
          policy: version,
          purpose: "training",
          deadlineMs: sampleTimeoutMs,
        },
        { signal },
      ),
    );
    for (const [p, lease] of leases.entries()) {
      const sequences = reply.sequences[p] ?? [];
      const { outcomes, seconds } = await this.score(lease.task, sequences, signal);
      const result: GroupResult = {
        ...{ worker: this.options.name, attempt: lease.attempt, sequences, outcomes },
        seconds: { sample: reply.seconds / leases.length, reward: seconds },
      };
      if (!this.held.delete(lease)) continue;
      await lease.done(result);
      this.options.onDone?.(lease.task.groupId, result);
    }
  }

  private async score(
    task: GroupTask,
    sequences: readonly SampledSequence[],
    signal: AbortSignal,
  ): Promise<{ readonly outcomes: readonly RewardOutcome[]; readonly seconds: number }> {
    const { parts, gate } = this;
    const { decode } = parts;
    const { time, rewardConcurrency } = this.options;
    const outcomes: RewardOutcome[] = [];
    let seconds = 0;
    let next = 0;
    const scoring = {
      ...{ reward: () => parts.reward, timeoutMs: task.rewardTimeoutMs, time, gate },
      spent: (more: number) => {
        seconds += more;
      },
    };
    const one = async () => {
      for (let g = next++; g < sequences.length; g = next++) {
        const rollout = rolloutOf(task, g, sequences[g] as SampledSequence, { seed: task.seeds[g] ?? 0, decode });
        outcomes[g] = await scoreRollout({ task: task.task, rollout }, scoring, signal);
      }
    };
    await Promise.all(Array.from({ length: Math.min(rewardConcurrency, sequences.length) }, one));
    return { outcomes, seconds };
  }

  /** Extends the leases while their groups are in work; a group whose lease is lost is somebody else's. */
  private async keepAlive(signal: AbortSignal): Promise<void> {
    const { time } = this.options;
    while (!signal.aborted) {
      const ends = Math.min(...[...this.held].map(({ expiresAt }) => expiresAt));
      const wait = Number.isFinite(ends) ? (ends - Date.now()) / SIGNS_OF_LIFE : SHORTEST_SIGN_MS;
      await pause(time, Math.max(SHORTEST_SIGN_MS, wait), signal).catch(() => undefined);
      if (signal.aborted) return;
      for (const lease of [...this.held])
        await lease.extend().catch((error: unknown) => {
          if (isExpired(error)) this.held.delete(lease);
        });
      // Nobody takes what comes of it any more.
      if (this.held.size === 0) this.own.abort();
    }
  }

  private async giveBack(leases: readonly GroupLease[]): Promise<void> {
    for (const lease of leases) {
      this.held.delete(lease);
      // A lease that cannot be given back expires.
      await lease.retry(this.stop.aborted ? 0 : RETRY_MS).catch(() => undefined);
    }
  }
}

/** Leases whose groups can be drawn in one call: of the same policy and sampling. */
function together(leases: readonly GroupLease[]): GroupLease[][] {
  const calls = new Map<string, GroupLease[]>();
  for (const lease of leases) {
    const { policy, sampling, sampleTimeoutMs } = lease.task;
    const key = JSON.stringify([policy, sampling, sampleTimeoutMs]);
    calls.set(key, [...(calls.get(key) ?? []), lease]);
  }
  return [...calls.values()];
}

const isSame = (a: PublishedPolicy, b: PublishedPolicy) =>
  a.version.n === b.version.n && a.version.sha256 === b.version.sha256;

function isExpired(error: unknown): boolean {
  return WeirError.isInstance(error) && (error.code === "WEIR_E_WORK_QUEUE" || error.code === "WEIR_E_STATE");
}
