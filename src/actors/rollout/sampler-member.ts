/**
 * One sampler of a pool from its start to its end: started, watched, closed after a loss and started again after a wait.
 * Invariants: at most one incarnation at a time; what an earlier one still answers is ignored; a member that fails `maxRestarts` + 1
 * times without a finished call in between is given up.
 */
import type { ActorState, ActorStatus } from "../../contracts/actor-status.js";
import type { FactData } from "../../contracts/fact.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { Sampler, SamplerCapabilities } from "../../contracts/sampler.js";
import type { Time } from "../../system/time.js";
import { pause, within } from "./time-limit.js";

/** A sampler that has been started. `close` resolves once nothing of it runs any more, and never rejects. */
export interface StartedSampler {
  readonly sampler: Sampler;
  /** Resolves when it has ended by itself or was closed. */
  readonly exited: Promise<{ readonly expected: boolean; readonly reason: string }>;
  /** Process id; null where it is no process of this machine. */
  readonly pid: number | null;
  close(): Promise<void>;
}

/**
 * Starts the sampler of a place in the pool, 0 to n − 1. The signal aborts when it takes too long or the pool is closed; the promise
 * settles soon after that.
 */
export type StartSampler = (slot: number, signal: AbortSignal) => Promise<StartedSampler>;

/** What a member tells of itself: a loss, its return, its end. */
export type MemberChange = FactData["actor.changed"];

/** A version that a member holds; without a hash where it was there from the start. */
export interface HeldVersion {
  readonly n: number;
  readonly sha256: string | null;
}

export interface MemberOptions {
  readonly start: StartSampler;
  readonly time: Time;
  /** Restarts without a finished call in between. */
  readonly maxRestarts: number;
  /** Wait before the first restart, ms; doubles with each further one, up to a minute. */
  readonly restartDelayMs: number;
  /** Deadline of a start, ms. */
  readonly startTimeoutMs: number;
  /** Deadline of loading a policy, ms. */
  readonly adoptTimeoutMs: number;
}

/** What the pool does for a member. */
export interface MemberOwner {
  /** Brings a new incarnation to the policy that is sampled from. */
  prepare(member: SamplerMember): Promise<void>;
  /** The incarnation is gone, with whatever it had in work. */
  lost(member: SamplerMember, reason: unknown): void;
  /** It runs, or was given up. */
  changed(change: MemberChange | null): void;
}

const LONGEST_DELAY_MS = 60_000;

export class SamplerMember {
  readonly name: string;
  state: Extract<ActorState, "starting" | "running" | "restarting" | "failed" | "stopped"> = "starting";
  held: readonly HeldVersion[] = [];
  /** The newest policy has still to be loaded. */
  owes = false;
  loading = false;
  /** It was given up as lost and gets no more work. */
  ending = false;
  busy = 0;
  handled = 0;
  restarts = 0;
  detail: string | null = null;
  capabilities: SamplerCapabilities | null = null;
  present: StartedSampler | null = null;
  /** Losses since the last finished call. */
  private failures = 0;
  private lose: (reason: unknown) => void = () => undefined;
  private readonly closing = new AbortController();
  /** Aborts with the present incarnation. */
  private own = new AbortController();
  private readonly launches = new Set<Promise<unknown>>();
  private life: Promise<void> | null = null;

  constructor(
    readonly slot: number,
    private readonly options: MemberOptions,
    private readonly owner: MemberOwner,
  ) {
    this.name = `sampler-${slot + 1}`;
  }

  begin(): void {
    this.life ??= this.live();
  }

  /** Ends the present incarnation; another one follows. */
  fail(reason: unknown): void {
    this.ending = true;
    this.lose(reason);
  }

  /** A call was answered. */
  succeeded(): void {
    this.handled += 1;
    this.failures = 0;
  }

  holds({ version }: PublishedPolicy): boolean {
    return this.held.some(({ n, sha256 }) => n === version.n && sha256 === version.sha256);
  }

  /** Loads a policy. Errors: the sampler's own, WEIR_E_ENGINE_TIMEOUT. */
  async adopt(policy: PublishedPolicy, inFlight: "keep" | "wait"): Promise<void> {
    const { present } = this;
    if (present === null) throw new Error(`${this.name} is gone`);
    const what = `loading policy version ${policy.version.n} into ${this.name}`;
    await this.limited(this.options.adoptTimeoutMs, what, (signal) =>
      present.sampler.adopt(policy, { signal, inFlight }),
    );
    if (this.present !== present) return;
    const others = this.held.filter(({ n }) => n !== policy.version.n);
    this.held = [policy.version, ...others].slice(0, present.sampler.capabilities.heldVersions);
  }

  /** Gives a version up, where it can hold another one. */
  async release(version: number, signal: AbortSignal): Promise<void> {
    if (this.held.length < 2 || !this.held.some(({ n }) => n === version)) return;
    this.held = this.held.filter(({ n }) => n !== version);
    await this.present?.sampler.release(version, { signal });
  }

  status(workers: number): ActorStatus {
    const { name, busy, handled, restarts, detail, state } = this;
    return {
      ...{ name, parent: "rollout", workers, busy, handled, dropped: 0, restarts, queue: null, detail },
      state: state === "running" && busy === 0 && !this.loading ? "waitingForInput" : state,
      policyVersion: this.held[0]?.n ?? null,
    };
  }

  /** Resolves once nothing of it runs any more. */
  async dispose(): Promise<void> {
    this.closing.abort(new Error(`${this.name} was closed`));
    this.own.abort(this.closing.signal.reason);
    this.lose(this.closing.signal.reason);
    await this.life;
    await Promise.allSettled([...this.launches]);
    this.state = "stopped";
  }

  private async live(): Promise<void> {
    const { signal } = this.closing;
    while (!signal.aborted) {
      const reason = await this.incarnation().catch((error: unknown) => error);
      this.own.abort(reason);
      this.held = [];
      this.loading = false;
      const { present } = this;
      this.present = null;
      if (!signal.aborted) this.countLoss(reason);
      this.owner.lost(this, reason);
      await present?.close();
      if (signal.aborted || this.isFailed()) return;
      const delay = this.options.restartDelayMs * 2 ** (this.failures - 1);
      await pause(this.options.time, Math.min(delay, LONGEST_DELAY_MS), signal).catch(() => undefined);
    }
  }

  /** Starts, runs and resolves to the reason of the end. */
  private async incarnation(): Promise<unknown> {
    this.own = new AbortController();
    this.ending = false;
    const lost = new Promise<unknown>((resolve) => {
      this.lose = resolve;
    });
    await Promise.race([this.start(), lost.then((reason) => Promise.reject(reason))]);
    const returned = this.restarts > 0;
    this.state = "running";
    this.detail = null;
    this.owes = false;
    this.owner.changed(returned ? this.change(null) : null);
    return lost;
  }

  private async start(): Promise<void> {
    const { start, startTimeoutMs } = this.options;
    const started = await this.limited(startTimeoutMs, `the start of ${this.name}`, (signal) =>
      this.launched(start(this.slot, signal), signal),
    );
    this.present = started;
    void started.exited.then(({ reason }) => {
      if (this.present === started) this.fail(reason);
    });
    this.capabilities = started.sampler.capabilities;
    const { versions } = await this.limited(startTimeoutMs, `the first answer of ${this.name}`, (signal) =>
      started.sampler.load({ signal }),
    );
    this.held = versions.map((n) => ({ n, sha256: null }));
    await this.owner.prepare(this);
  }

  /** What has started too late is closed at once. */
  private launched(launch: Promise<StartedSampler>, signal: AbortSignal): Promise<StartedSampler> {
    const kept = launch.then(async (started) => {
      if (!signal.aborted) return started;
      await started.close();
      throw signal.reason;
    });
    this.launches.add(kept);
    const done = () => this.launches.delete(kept);
    void kept.then(done, done);
    return kept;
  }

  private limited<T>(ms: number, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return within({ time: this.options.time, ms, signal: this.own.signal, what }, work);
  }

  private countLoss(reason: unknown): void {
    this.failures += 1;
    this.detail = reason instanceof Error ? reason.message : String(reason);
    const givenUp = this.failures > this.options.maxRestarts;
    this.state = givenUp ? "failed" : "restarting";
    if (!givenUp) this.restarts += 1;
    this.owner.changed(this.change(this.detail));
  }

  /** `countLoss` may have changed the state since it was looked at last. */
  private isFailed(): boolean {
    return this.state === "failed";
  }

  private change(reason: string | null): MemberChange {
    return { actor: this.name, state: this.state, reason, restarts: this.restarts };
  }
}
