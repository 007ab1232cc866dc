/**
 * A sampler over several: each request goes to the least loaded one that holds the policy it wants, each publication to all of them.
 * Invariants: a request that a lost sampler had in work is drawn again by another one, from the same seeds; a sampler loads the
 * newest policy before it takes work again; nobody waits for ever, and after `dispose` no timer and no sampler is left.
 */
import type { ActorStatus } from "../../contracts/actor-status.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type {
  PolicyWanted,
  SampleReply,
  SampleRequest,
  Sampler,
  SamplerCapabilities,
  SamplerLoad,
} from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { KnownPolicies } from "./policies-known.js";
import { type Attempt, SamplerCall, tooLate } from "./sampler-call.js";
import { type MemberChange, type MemberOptions, type MemberOwner, SamplerMember } from "./sampler-member.js";
import { sharedCapabilities } from "./shared-capabilities.js";

export interface SamplerPoolOptions extends MemberOptions {
  /** Samplers, named `sampler-1` and so on. */
  readonly members: number;
  /** Time that a sampler may take for a call before it counts as lost, ms. */
  readonly callTimeoutMs: number;
  /** Calls that one sampler works on at once; 1 when left out. */
  readonly perMember?: number;
}

/** Samplers that a request may take down; one that crashes each of them is not sent to a fourth. */
export const MAX_TRIES = 3;

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

interface Adopter extends Waiter {
  readonly policy: PublishedPolicy;
}

export class SamplerPool implements Sampler, MemberOwner {
  readonly kind = "engines";
  readonly specificationVersion = 2;
  private readonly members: readonly SamplerMember[];
  private readonly perMember: number;
  private readonly policies = new KnownPolicies();
  /** Requests that wait for a sampler, the oldest first. */
  private queue: SamplerCall[] = [];
  private readonly attempts = new Set<Attempt>();
  private starters: Waiter[] = [];
  private adopters: Adopter[] = [];
  private readonly listeners = new Set<(change: MemberChange) => void>();
  private inFlight: "keep" | "wait" | "abort" = "wait";
  private disposed = false;

  constructor(private readonly options: SamplerPoolOptions) {
    this.perMember = options.perMember ?? 1;
    this.members = Array.from({ length: options.members }, (_, slot) => new SamplerMember(slot, options, this));
  }

  /** What all of its samplers can do. Errors: WEIR_E_STATE before the first has started, WEIR_E_CAPABILITY where they do not fit. */
  get capabilities(): SamplerCapabilities {
    return sharedCapabilities(this.members.flatMap(({ capabilities }) => capabilities ?? []));
  }

  /** Starts the samplers; resolves once each runs or was given up, and one runs. Errors: WEIR_E_SAMPLERS_LOST where none does. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.disposed) return reject(closed());
      this.begin();
      this.starters.push({ resolve, reject });
      this.settleWaiters();
    });
  }

  /**
   * Errors: WEIR_E_POLICY_VERSION for a policy that was not adopted or was released; WEIR_E_ENGINE_TIMEOUT after the
   * request's deadline; the sampler's error after `MAX_TRIES` lost ones; WEIR_E_SAMPLERS_LOST where none is left.
   */
  sample(request: SampleRequest, { signal }: { readonly signal: AbortSignal }): Promise<SampleReply> {
    return new Promise((resolve, reject) => {
      if (this.disposed) return reject(closed());
      if (signal.aborted) return reject(signal.reason);
      this.begin();
      const on = {
        cancel: (one: SamplerCall) => this.cancel(one),
        deadline: (one: SamplerCall, error: WeirError) => this.expire(one, error),
      };
      const call = new SamplerCall(request, this.options.time, signal, { resolve, reject }, on);
      this.queue.push(call);
      this.pump();
    });
  }

  /**
   * Has every running sampler load a policy, each as soon as it may (`inFlight`); resolves once all have it or a newer one. One that
   * starts later loads it before it works. `abort` draws again, from the new policy, what wants no version in particular.
   */
  adopt(
    policy: PublishedPolicy,
    { signal, inFlight }: { readonly signal: AbortSignal; readonly inFlight: "keep" | "wait" | "abort" },
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.disposed) return reject(closed());
      if (signal.aborted) return reject(signal.reason);
      this.begin();
      if (!this.policies.isNewest(policy)) this.takePolicy(policy, inFlight);
      const end = (settle: () => void) => {
        signal.removeEventListener("abort", onAbort);
        settle();
      };
      const adopter: Adopter = {
        policy,
        resolve: () => end(resolve),
        reject: (error) => end(() => reject(error)),
      };
      const onAbort = () => {
        this.adopters = this.adopters.filter((other) => other !== adopter);
        adopter.reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.adopters.push(adopter);
      this.pump();
    });
  }

  async release(version: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    this.policies.release(version);
    if (version === this.policies.newest?.version.n) return;
    await Promise.all(this.running().map((member) => member.release(version, signal)));
  }

  async load({ signal }: { readonly signal: AbortSignal }): Promise<SamplerLoad> {
    signal.throwIfAborted();
    if (this.running().length === 0) await this.start();
    const versions = this.running().flatMap(({ held }) => held.map(({ n }) => n));
    return {
      running: this.attempts.size,
      waiting: this.queue.length,
      cacheUse: null,
      versions: [...new Set(versions)].sort((a, b) => a - b),
    };
  }

  /** Its samplers, as the monitor shows them. */
  actors(): ActorStatus[] {
    return this.members.map((member) => member.status(this.perMember));
  }

  /** Hears of each loss, return and end of a sampler until the returned function is called. */
  onChange(listener: (change: MemberChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Rejects what is waiting, cancels what is in work and closes every sampler. */
  async dispose(): Promise<void> {
    this.disposed = true;
    for (const call of this.queue.splice(0)) call.reject(closed());
    for (const { call, abort } of this.attempts) {
      abort.abort(closed());
      call.reject(closed());
    }
    for (const waiter of [...this.starters.splice(0), ...this.adopters.splice(0)]) waiter.reject(closed());
    await Promise.all(this.members.map((member) => member.dispose()));
    this.listeners.clear();
  }

  /** Part of the members' supervision. */
  async prepare(member: SamplerMember): Promise<void> {
    const { present } = member;
    for (let { newest } = this.policies; newest !== null && !member.holds(newest); newest = this.policies.newest) {
      const loading = newest;
      await member.adopt(loading, "wait").catch((error: unknown) => {
        // The folder of a policy that is no longer the newest may be gone.
        if (isLoss(error) || member.present !== present || this.policies.newest === loading) throw error;
      });
    }
  }

  /** Part of the members' supervision. */
  lost(member: SamplerMember, reason: unknown): void {
    const error = WeirError.isInstance(reason) ? reason : crashed(member.name, reason);
    for (const attempt of [...this.attempts].filter((one) => one.member === member)) {
      this.endAttempt(attempt);
      attempt.abort.abort(error);
      if (!attempt.abandoned) this.again(attempt.call, error);
    }
    this.pump();
  }

  /** Part of the members' supervision. */
  changed(change: MemberChange | null): void {
    if (change !== null) for (const listener of this.listeners) listener(change);
    this.pump();
  }

  private begin(): void {
    for (const member of this.members) member.begin();
  }

  private running(): SamplerMember[] {
    return this.members.filter(({ state, ending }) => state === "running" && !ending);
  }

  /** The deadline of a request has passed; what a sampler still answers is ignored. */
  private expire(call: SamplerCall, error: WeirError): void {
    const attempt = this.attemptOf(call);
    if (attempt !== undefined) this.abandon(attempt, error);
    this.queue = this.queue.filter((other) => other !== call);
    call.reject(error);
  }

  private abandon(attempt: Attempt, reason: WeirError): void {
    attempt.abandoned = true;
    attempt.abort.abort(reason);
  }

  private takePolicy(policy: PublishedPolicy, inFlight: "keep" | "wait" | "abort"): void {
    this.policies.add(policy);
    this.inFlight = inFlight;
    for (const member of this.running()) member.owes = !member.holds(policy);
    if (inFlight !== "abort") return;
    for (const attempt of this.attempts) {
      const { call } = attempt;
      const { policy: wanted } = call.request;
      const fits = wanted === null || ("atLeast" in wanted && policy.version.n >= wanted.atLeast);
      if (!fits || attempt.abandoned || call.cancelled) continue;
      this.abandon(attempt, new WeirError("WEIR_E_ENGINE_ABORTED", "drawn again from a newer policy"));
      this.queue.unshift(call);
    }
  }

  /** Gives work to whoever is free: first what was published, then what is asked for. */
  private pump(): void {
    if (this.disposed) return;
    for (const member of this.running()) if (member.owes && !member.loading) this.loadNewest(member);
    for (const call of [...this.queue]) {
      const refusal = this.refusal(call.request.policy);
      if (refusal === null && !this.place(call)) continue;
      this.queue = this.queue.filter((other) => other !== call);
      if (refusal !== null) call.reject(refusal);
    }
    this.settleWaiters();
  }

  private loadNewest(member: SamplerMember): void {
    const { newest } = this.policies;
    const keeps = this.inFlight === "keep" && member.capabilities?.tokenVersions === true;
    if (newest === null || (member.busy > 0 && !keeps)) return;
    void this.bring(member, newest, keeps ? "keep" : "wait");
  }

  /** Sends a request to the least loaded sampler; false where none is free. One that must load another policy first is the second choice. */
  private place(call: SamplerCall): boolean {
    const wanted = call.request.policy;
    const free = this.running()
      .filter((member) => !member.loading && !member.owes && member.busy < this.perMember)
      .sort((a, b) => a.busy - b.busy || a.slot - b.slot);
    const holder = free.find(({ held }) => held.some((version) => this.policies.serves(version, wanted)));
    const bare = this.policies.newest === null && wanted === null ? free[0] : undefined;
    const member = holder ?? bare;
    if (member !== undefined) {
      this.attempt(call, member);
      return true;
    }
    const idle = free.find(({ busy }) => busy === 0);
    const policy = this.policies.policyFor(wanted);
    if (idle !== undefined && policy !== null) void this.bring(idle, policy, "wait");
    return false;
  }

  private attempt(call: SamplerCall, member: SamplerMember): void {
    const { id, deadlineMs } = call.request;
    const limitMs = Math.min(deadlineMs, this.options.callTimeoutMs);
    const timer = this.options.time.set(() => member.fail(tooLate(id, limitMs)), limitMs);
    const attempt: Attempt = { call, member, abort: new AbortController(), abandoned: false, timer };
    const { sampler } = member.present as NonNullable<SamplerMember["present"]>;
    this.attempts.add(attempt);
    member.busy += 1;
    const draw = async () => sampler.sample({ ...call.request, deadlineMs: limitMs }, { signal: attempt.abort.signal });
    draw().then(
      (reply) => this.answered(attempt, () => call.resolve(reply), null),
      (error) => this.answered(attempt, () => call.reject(error), error),
    );
  }

  /** A try has ended by itself: with a reply, with the request's own fault, or with the loss of the sampler. */
  private answered(attempt: Attempt, settle: () => void, error: unknown): void {
    const { member, abandoned } = attempt;
    if (!this.attempts.has(attempt)) return;
    if (isLoss(error)) {
      member.fail(error);
      return;
    }
    this.endAttempt(attempt);
    if (error === null) member.succeeded();
    if (!abandoned) settle();
    this.pump();
  }

  private endAttempt(attempt: Attempt): void {
    if (!this.attempts.delete(attempt)) return;
    this.options.time.clear(attempt.timer);
    attempt.member.busy -= 1;
  }

  /** Puts a request back at the head of the queue after the loss of its sampler. */
  private again(call: SamplerCall, error: unknown): void {
    if (call.settled || this.queue.includes(call)) return;
    call.tries += 1;
    if (this.disposed || call.cancelled || call.tries >= MAX_TRIES) {
      call.reject(error);
      return;
    }
    this.queue.unshift(call);
  }

  private cancel(call: SamplerCall): void {
    const attempt = this.attemptOf(call);
    if (attempt !== undefined) {
      attempt.abort.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "cancelled by the caller"));
      return;
    }
    this.queue = this.queue.filter((other) => other !== call);
    call.reject(null);
  }

  /** The try that a call's answer is expected from. */
  private attemptOf(call: SamplerCall): Attempt | undefined {
    return [...this.attempts].find((one) => one.call === call && !one.abandoned);
  }

  /** Loads a policy into an idle sampler. One that cannot be read is refused for all: its folder is the same for each of them. */
  private async bring(member: SamplerMember, policy: PublishedPolicy, inFlight: "keep" | "wait"): Promise<void> {
    const { present } = member;
    member.loading = true;
    const error: unknown = await member.adopt(policy, inFlight).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (this.disposed || member.present !== present) return;
    member.loading = false;
    const { newest } = this.policies;
    if (error === null) member.owes = newest !== null && member.owes && !member.holds(newest);
    else if (WeirError.isInstance(error) && !isLoss(error)) this.refuse(policy, error);
    else member.fail(error);
    this.pump();
  }

  private refuse(policy: PublishedPolicy, error: unknown): void {
    this.policies.refuse(policy);
    for (const member of this.members) member.owes = false;
    const refused = this.adopters.filter((one) => one.policy === policy);
    this.adopters = this.adopters.filter((one) => one.policy !== policy);
    for (const adopter of refused) adopter.reject(error);
  }

  /** Why a request cannot be answered, now or later; null where it can. */
  private refusal(wanted: PolicyWanted | null): WeirError | null {
    if (this.members.every(({ state }) => state === "failed")) return this.allLost();
    if (wanted === null || this.policies.policyFor(wanted) !== null) return null;
    const starting = this.members.some(({ state }) => state === "starting" || state === "restarting");
    const held = this.running().flatMap((member) => member.held);
    if (this.policies.newest === null && (starting || held.some((one) => this.policies.serves(one, wanted))))
      return null;
    const asked = "exactly" in wanted ? `${wanted.exactly}` : `${wanted.atLeast} or newer`;
    const holds = this.policies.newest?.version.n ?? held.map(({ n }) => n).join(", ");
    return new WeirError(
      "WEIR_E_POLICY_VERSION",
      `policy version ${asked} was asked for, the samplers hold version ${holds}`,
      { wanted },
    );
  }

  private allLost(): WeirError {
    const reasons = this.members.map(({ name, detail }) => `${name}: ${detail}`);
    return new WeirError(
      "WEIR_E_SAMPLERS_LOST",
      `none of the ${this.members.length} samplers is left: each failed more often than engine.maxRestarts = ${this.options.maxRestarts} permits (${reasons.join("; ")}); look at their causes`,
      { reasons },
    );
  }

  private settleWaiters(): void {
    const settle = (waiters: readonly Waiter[]) => {
      const allFailed = this.members.every(({ state }) => state === "failed");
      for (const waiter of waiters) allFailed ? waiter.reject(this.allLost()) : waiter.resolve();
    };
    const running = this.running();
    const over = running.length > 0 || this.members.every(({ state }) => state === "failed");
    const settled = over && this.members.every(({ state }) => state === "running" || state === "failed");
    if (settled) settle(this.starters.splice(0));
    if (over && running.every(({ owes }) => !owes)) settle(this.adopters.splice(0));
  }
}

function isLoss(error: unknown): boolean {
  return (
    WeirError.isInstance(error) && (error.code === "WEIR_E_ENGINE_CRASHED" || error.code === "WEIR_E_ENGINE_TIMEOUT")
  );
}

function crashed(name: string, reason: unknown): WeirError {
  const text = reason instanceof Error ? reason.message : String(reason);
  return new WeirError("WEIR_E_ENGINE_CRASHED", `${name} ended: ${text}`, { reason: text });
}

function closed(): WeirError {
  return new WeirError("WEIR_E_STATE", "the samplers were closed; use the ones that took their place");
}
