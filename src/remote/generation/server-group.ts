/**
 * A sampler over servers that generate from token ids. Each request goes to the least loaded server, each policy to all of them.
 * Invariants: a request is drawn from the policy that it wants, on whichever server; a server that cannot be reached gets no work, is
 * asked again and again, and has the newest policy before it gets work again; what it had in work is drawn elsewhere from the same
 * seeds; nobody waits longer than `patienceMs` for a server, nor longer than its own deadline.
 */
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
import type { Time } from "../../system/time.js";
import type { Call, PolicyForm } from "./generation-server.js";
import { type PoliciesInUse, policiesInUse } from "./policies-in-use.js";
import type { ServerMember } from "./server-member.js";
import { Waiting } from "./server-waiting.js";
import { PolicyChanged } from "./server-weights.js";

export interface ServerGroupOptions {
  readonly kind: string;
  readonly members: readonly ServerMember[];
  /** What its servers can do, as far as that is known before they were asked. */
  readonly capabilities: SamplerCapabilities;
  readonly form: PolicyForm;
  /** Requests that one server works on at once. */
  readonly callsPerServer: number;
  readonly patienceMs: number;
  readonly time: Time;
}

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 10_000;
/** Exchanges of policies in the middle of one request's way to a server; more are a fault of that server's. */
const MOST_CHANGES = 8;
/** How long servers are given to take leave, ms. */
const FAREWELL_MS = 5_000;

/** A draw under way. */
interface Attempt {
  readonly request: SampleRequest;
  readonly abort: AbortController;
}

export class ServerGroup implements Sampler {
  readonly kind: string;
  readonly specificationVersion = 2;
  private readonly members: readonly ServerMember[];
  private readonly policies: PoliciesInUse;
  private readonly waiting: Waiting;
  private readonly attempts = new Set<Attempt>();
  private readonly timers = new Map<ServerMember, unknown>();
  /** Connections under way. */
  private readonly reaching = new Map<ServerMember, Promise<unknown>>();
  private readonly closing = new AbortController();
  private first: Promise<void> | null = null;
  private tries = 0;

  constructor(private readonly options: ServerGroupOptions) {
    this.kind = options.kind;
    this.members = options.members;
    this.policies = policiesInUse(options.form);
    this.waiting = new Waiting(options.time, options.patienceMs, () => this.absence());
  }

  get capabilities(): SamplerCapabilities {
    const known = this.members.filter(({ facts }) => facts !== null);
    const [one] = known;
    if (one === undefined) return this.options.capabilities;
    const logprobBasis = one.basis ?? this.options.capabilities.logprobBasis;
    const seeds = known.some(({ facts }) => facts?.seeds === "none") ? "none" : (one.facts?.seeds ?? "none");
    const precisions = new Set(known.map(({ facts }) => facts?.precision ?? null));
    const precision = precisions.size === 1 ? (one.facts?.precision ?? null) : null;
    return { ...this.options.capabilities, logprobBasis, seeds, precision };
  }

  /**
   * Resolves once one server can be sampled from. Errors: WEIR_E_UNREACHABLE after `patienceMs`; WEIR_E_REMOTE, WEIR_E_CAPABILITY and
   * WEIR_E_CONFIG of any server: a setting is wrong.
   */
  connect({ signal }: Call): Promise<void> {
    this.first = this.connectAll(signal).catch((error: unknown) => {
      this.first = null;
      throw error;
    });
    return this.first;
  }

  private async connectAll(signal: AbortSignal): Promise<void> {
    this.assertOpen();
    const absent = this.members.filter(({ state }) => state !== "ready");
    const errors = await Promise.all(absent.map((member) => this.reach(member, signal)));
    signal.throwIfAborted();
    const wrong = errors.find((error) => error !== null && !isUnreachable(error));
    if (wrong !== undefined) throw wrong;
    this.assertSameBasis();
    await this.waiting.forServer(this.ready().length > 0, signal);
  }

  /** Errors: WEIR_E_POLICY_VERSION, WEIR_E_UNREACHABLE, WEIR_E_PROMPT_TOO_LONG, WEIR_E_REMOTE. */
  async sample(request: SampleRequest, { signal }: Call): Promise<SampleReply> {
    signal.throwIfAborted();
    const { time } = this.options;
    const end = time.now() + request.deadlineMs;
    await this.opened(signal);
    for (let changes = 0; ; ) {
      const member = await this.waiting.turn(() => this.place(request.policy), end, signal);
      const attempt: Attempt = { request, abort: new AbortController() };
      this.attempts.add(attempt);
      try {
        return await this.draw(member, attempt, end, signal);
      } catch (error) {
        signal.throwIfAborted();
        const changed = error instanceof PolicyChanged;
        if (changed) changes += 1;
        // A server that keeps holding another policy than the newest gets that when it is connected to anew.
        if (isUnreachable(error) || changes > MOST_CHANGES) this.lost(member, error);
        if (!(changed || isUnreachable(error)) || time.now() >= end) throw error;
      } finally {
        this.attempts.delete(attempt);
        member.busy -= 1;
        this.waiting.pump();
      }
    }
  }

  async adopt(
    policy: PublishedPolicy,
    { signal, inFlight }: Call & { readonly inFlight: "keep" | "wait" | "abort" },
  ): Promise<void> {
    signal.throwIfAborted();
    this.assertForm(policy);
    await this.opened(signal);
    const dropped = this.policies.add(policy);
    if (inFlight === "abort") this.drawAgain(policy);
    for (;;) {
      const ready = this.ready();
      const how = { signal: this.within(signal), inFlight: inFlight === "keep" ? inFlight : ("wait" as const) };
      const errors = await Promise.all(
        ready.map((member) => this.hand(member, () => member.weights.adopt(policy, how))),
      );
      signal.throwIfAborted();
      const refusal = errors.find((error) => error !== null && !isUnreachable(error));
      if (refusal !== undefined) {
        this.policies.refuse(policy);
        throw refusal;
      }
      if (errors.includes(null)) break;
      await this.waiting.forServer(this.ready().length > 0, signal);
      // A server that has come back has been given the newest policy on its way.
      if (this.ready().length > 0) break;
    }
    this.waiting.pump();
    await this.giveUp(dropped, signal);
  }

  async release(version: number, { signal }: Call): Promise<void> {
    const policy = this.policies.release(version);
    if (policy !== null) await this.giveUp([policy], signal);
  }

  async load({ signal }: Call): Promise<SamplerLoad> {
    await this.opened(signal);
    const loads: SamplerLoad[] = [];
    await Promise.all(
      this.ready().map((member) =>
        this.hand(member, async () => {
          const load = await member.server.load({ signal: this.within(signal) });
          loads.push({ ...load, versions: member.weights.held });
        }),
      ),
    );
    const sum = (name: "running" | "waiting") => loads.reduce((total, load) => total + load[name], 0);
    const uses = loads.flatMap(({ cacheUse }) => cacheUse ?? []);
    return {
      running: sum("running"),
      waiting: sum("waiting") + this.waiting.count,
      cacheUse: uses.length > 0 ? Math.max(...uses) : null,
      versions: [...new Set(loads.flatMap(({ versions }) => versions))].sort((a, b) => a - b),
    };
  }

  /** Ends what is under way and leaves no policy at the servers. */
  async dispose(): Promise<void> {
    if (this.closing.signal.aborted) return;
    const reason = new WeirError("WEIR_E_STATE", "the sampler was closed; make another one");
    this.closing.abort(reason);
    this.waiting.close(reason);
    for (const { abort } of this.attempts) abort.abort(reason);
    for (const timer of this.timers.values()) this.options.time.clear(timer);
    this.timers.clear();
    const signal = AbortSignal.timeout(FAREWELL_MS);
    await Promise.allSettled(this.ready().map(({ weights }) => weights.dispose({ signal })));
  }

  private draw(member: ServerMember, attempt: Attempt, end: number, signal: AbortSignal): Promise<SampleReply> {
    const { request, abort } = attempt;
    const { time } = this.options;
    this.tries += 1;
    const call = {
      name: `${request.id}.${this.tries}`,
      deadlineMs: Math.max(1, end - time.now()),
      signal: AbortSignal.any([signal, abort.signal]),
    };
    return member.sample(request, this.policies.wanted(request.policy), call).then((reply) => {
      member.failures = 0;
      return reply;
    });
  }

  /** The least loaded server with room, or null. Errors: WEIR_E_POLICY_VERSION where no server can have the policy. */
  private place(wanted: PolicyWanted | null): ServerMember | null {
    this.policies.wanted(wanted);
    const free = this.ready().filter(({ busy }) => busy < this.options.callsPerServer);
    const [member] = free.sort((a, b) => a.busy - b.busy);
    if (member === undefined) return null;
    member.busy += 1;
    return member;
  }

  /** Draws of an older policy that any newer one would do for begin anew. */
  private drawAgain({ version }: PublishedPolicy): void {
    for (const { request, abort } of this.attempts) {
      const { policy: wanted } = request;
      if (wanted === null || ("atLeast" in wanted && version.n >= wanted.atLeast)) abort.abort(new PolicyChanged());
    }
  }

  private async giveUp(policies: readonly PublishedPolicy[], signal: AbortSignal): Promise<void> {
    const own = this.within(signal);
    for (const policy of policies) {
      const release = (member: ServerMember) =>
        this.hand(member, () => member.weights.release(policy, { signal: own }));
      const errors = await Promise.all(this.ready().map(release));
      const refusal = errors.find((error) => error !== null && !isUnreachable(error));
      if (refusal !== undefined) throw refusal;
    }
  }

  /** Runs a call to a server; its error, or null. A server that cannot be reached is left out. */
  private async hand(member: ServerMember, work: () => Promise<void>): Promise<unknown> {
    try {
      await work();
      return null;
    } catch (error) {
      if (isUnreachable(error)) this.lost(member, error);
      return error;
    }
  }

  /** Connects to a server, once for all that ask; its error, or null. */
  private reach(member: ServerMember, signal: AbortSignal): Promise<unknown> {
    const running = this.reaching.get(member);
    if (running !== undefined) return running;
    const work = this.reachNow(member, signal).finally(() => this.reaching.delete(member));
    this.reaching.set(member, work);
    return work;
  }

  private async reachNow(member: ServerMember, signal: AbortSignal): Promise<unknown> {
    this.unschedule(member);
    try {
      await member.connect(this.policies.all, this.within(signal));
    } catch (error) {
      this.lost(member, error);
      return error;
    }
    member.state = "ready";
    member.cause = null;
    this.waiting.arrived();
    return null;
  }

  private lost(member: ServerMember, cause: unknown): void {
    member.state = "away";
    member.cause = cause;
    if (this.closing.signal.aborted) return;
    if (this.ready().length === 0) this.waiting.alone();
    if (this.timers.has(member)) return;
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** member.failures);
    member.failures += 1;
    const again = () => {
      this.timers.delete(member);
      void this.reach(member, this.closing.signal);
    };
    this.timers.set(member, this.options.time.set(again, delay));
  }

  private unschedule(member: ServerMember): void {
    if (this.timers.has(member)) this.options.time.clear(this.timers.get(member));
    this.timers.delete(member);
  }

  /** Why no server is there. */
  private absence(): unknown {
    const causes = this.members.flatMap(({ cause }) => (cause === null ? [] : [cause]));
    if (causes.length <= 1) return causes[0];
    const texts = causes.map((cause) =>
      cause instanceof Error ? cause.message.replace(/^WEIR_E_\w+: /, "") : String(cause),
    );
    return new WeirError(
      "WEIR_E_UNREACHABLE",
      `none of the ${this.members.length} servers can be used: ${texts.join("; ")}`,
    );
  }

  /** The first use connects, where nobody has. */
  private async opened(signal: AbortSignal): Promise<void> {
    this.assertOpen();
    if (this.ready().length === 0) await (this.first ?? this.connect({ signal }));
  }

  private ready(): ServerMember[] {
    return this.members.filter(({ state }) => state === "ready");
  }

  private within(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal]);
  }

  private assertOpen(): void {
    this.closing.signal.throwIfAborted();
  }

  private assertForm({ artifact, version }: PublishedPolicy): void {
    const { form } = this.options;
    if (artifact.kind === form) return;
    throw new WeirError(
      "WEIR_E_POLICY_VERSION",
      `policy version ${version.n} is a ${artifact.kind}, and the sampler "${this.kind}" takes ${form === "adapter" ? "adapters (model.lora is set)" : "model folders (model.lora is not set)"}`,
      { version: version.n, form },
    );
  }

  private assertSameBasis(): void {
    const bases = new Set(this.ready().map(({ basis }) => basis));
    if (bases.size < 2) return;
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      `the servers of the sampler "${this.kind}" give log-probs of different distributions (${[...bases].join(", ")}); start them with the same options`,
    );
  }
}

function isUnreachable(error: unknown): boolean {
  return WeirError.isInstance(error) && error.code === "WEIR_E_UNREACHABLE";
}
