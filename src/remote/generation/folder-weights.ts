/**
 * Policies as whole model folders in the place of one server's base weights: one at a time, named by a label that comes back with
 * every span of tokens. Invariants: a draw begins only from the policy that it wants; tokens under a label that was not set here are
 * never taken for a policy's.
 */
import type { PolicySpan, PolicyVersion } from "../../contracts/policy-version.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import { WeirError } from "../../errors.js";
import type { Call, Drawn, GenerationServer, ServerFacts } from "./generation-server.js";
import { policyName } from "./policy-name.js";
import { type DrawFrom, isSamePolicy, PolicyChanged, type ServerWeights } from "./server-weights.js";
import { whenTold } from "./when-told.js";

/** Weights that somebody else put there. */
const FOREIGN = Symbol("foreign");

export class FolderWeights implements ServerWeights {
  private base: PublishedPolicy | null | typeof FOREIGN = null;
  /** Versions by the labels that were set. */
  private readonly labels = new Map<string, PolicyVersion>();
  private draws = 0;
  private idle: (() => void)[] = [];
  /** Exchanges of weights, one after another; null where none is under way. */
  private exchange: Promise<void> | null = null;

  constructor(private readonly server: GenerationServer) {}

  get held(): readonly number[] {
    return this.base === FOREIGN ? [] : [this.base?.version.n ?? 0];
  }

  async connected({ label }: ServerFacts, known: readonly PublishedPolicy[], options: Call): Promise<void> {
    const newest = known.at(-1);
    if (newest !== undefined && label === policyName(newest.version)) this.take(newest);
    else if (newest !== undefined) await this.swap(newest, options.signal);
    else this.base = label === null ? null : FOREIGN;
  }

  async adopt(
    policy: PublishedPolicy,
    { signal, inFlight }: Call & { readonly inFlight: "keep" | "wait" },
  ): Promise<void> {
    while (this.exchange !== null) await this.exchange.catch(() => undefined);
    if (this.base !== FOREIGN && isSamePolicy(this.base, policy)) return;
    const work = async () => {
      if (inFlight === "wait") await this.drained(signal);
      await this.swap(policy, signal);
    };
    this.exchange = work().finally(() => {
      this.exchange = null;
    });
    await this.exchange;
  }

  /** The next policy takes its place; a server always has one. */
  async release(): Promise<void> {}

  async draw<T>(policy: PublishedPolicy | null, work: (from: DrawFrom) => Promise<T>): Promise<T> {
    while (this.exchange !== null) await this.exchange.catch(() => undefined);
    if (this.base === FOREIGN)
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `${this.server.url} holds weights that another run has put there; start it anew, or have it adopt a policy first`,
        { url: this.server.url },
      );
    if (!isSamePolicy(this.base, policy)) throw new PolicyChanged();
    this.draws += 1;
    try {
      return await work({ adapter: null, cacheSalt: policy === null ? "base" : policyName(policy.version) });
    } finally {
      this.draws -= 1;
      if (this.draws === 0) for (const tell of this.idle.splice(0)) tell();
    }
  }

  spans(policy: PublishedPolicy | null, { labels, tokenIds }: Drawn): readonly PolicySpan[] {
    const spans = labels.map(({ label, start, end }) => {
      const version = label === null && policy === null ? { n: 0, sha256: "" } : this.labels.get(label ?? "");
      if (version === undefined)
        throw new WeirError(
          "WEIR_E_UNREACHABLE",
          `${this.server.url} drew from weights named ${label ?? "by nobody"}, which it was not given: it was started anew or serves another run, too`,
          { url: this.server.url, label },
        );
      return { version: version.n, sha256: version.sha256, start, end };
    });
    if (tokenIds.length === 0) return [];
    return spans;
  }

  async dispose(): Promise<void> {}

  private async swap(policy: PublishedPolicy, signal: AbortSignal): Promise<void> {
    const { artifact, version } = policy;
    if (artifact.kind !== "checkpoint")
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${version.n} is a ${artifact.kind}, a checkpoint is needed`,
      );
    const label = policyName(version);
    this.labels.set(label, version);
    // Should it fail half-way, what the server holds is known to nobody.
    this.base = FOREIGN;
    await this.server.loadFolder(artifact.uri, label, { signal });
    this.take(policy);
  }

  private take(policy: PublishedPolicy): void {
    this.labels.set(policyName(policy.version), policy.version);
    this.base = policy;
  }

  private async drained(signal: AbortSignal): Promise<void> {
    if (this.draws > 0) await whenTold(this.idle, signal);
  }
}
