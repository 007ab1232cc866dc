/**
 * Policies as LoRA adapters of one server: any number, each under its own name, loaded when it is first needed. Invariants: an adapter
 * is unloaded only once nothing is drawn from it, since a server reads an adapter's folder again after it was pushed out of memory;
 * what an earlier process of the server had loaded is loaded again.
 */
import type { PolicySpan } from "../../contracts/policy-version.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import { WeirError } from "../../errors.js";
import type { Call, Drawn, GenerationServer, ServerFacts } from "./generation-server.js";
import { policyName } from "./policy-name.js";
import { type DrawFrom, type ServerWeights, wholeSpan } from "./server-weights.js";
import { whenTold } from "./when-told.js";

export class AdapterWeights implements ServerWeights {
  /** Adapters that this server has, or is loading, by name. */
  private readonly loaded = new Map<string, { readonly policy: PublishedPolicy; readonly ready: Promise<void> }>();
  /** Names that were loaded here and have not been unloaded, perhaps by an earlier process of the server. */
  private readonly own = new Set<string>();
  /** Draws under way, by name, and who waits for their end. */
  private readonly draws = new Map<string, { count: number; readonly ended: (() => void)[] }>();
  private maxRank: number | null = null;
  /** Nothing was ever adopted, so that version 0 is the base model. */
  private bare = true;

  constructor(private readonly server: GenerationServer) {}

  get held(): readonly number[] {
    if (this.bare) return [0];
    return [...this.loaded.values()].map(({ policy }) => policy.version.n);
  }

  /** Errors: WEIR_E_CAPABILITY for a server whose base weights are no longer those of its model. */
  async connected(facts: ServerFacts, known: readonly PublishedPolicy[], options: Call): Promise<void> {
    const { adapters, maxRank, label } = facts;
    if (label !== null)
      throw new WeirError(
        "WEIR_E_CAPABILITY",
        `${this.server.url} holds weights named ${label} in the place of its model's, so that adapters would be added to these; start it anew`,
        { url: this.server.url, label },
      );
    this.maxRank = maxRank;
    this.bare = known.length === 0;
    this.loaded.clear();
    const wanted = new Set(known.map(({ version }) => policyName(version)));
    for (const name of this.own) {
      if (adapters.includes(name) && !wanted.has(name)) await this.server.unloadAdapter(name, options);
      this.own.delete(name);
    }
    const newest = known.at(-1);
    if (newest !== undefined) await this.bring(newest, options);
  }

  async adopt(policy: PublishedPolicy, options: Call): Promise<void> {
    await this.bring(policy, options);
    this.bare = false;
  }

  async release({ version }: PublishedPolicy, { signal }: Call): Promise<void> {
    const name = policyName(version);
    if (!this.loaded.has(name)) return;
    await this.idle(name, signal);
    this.loaded.delete(name);
    await this.server.unloadAdapter(name, { signal });
    this.own.delete(name);
  }

  async draw<T>(policy: PublishedPolicy | null, work: (from: DrawFrom) => Promise<T>, options: Call): Promise<T> {
    if (policy === null) return work({ adapter: null, cacheSalt: "base" });
    const name = policyName(policy.version);
    const end = this.begin(name);
    try {
      await this.bring(policy, options);
      try {
        return await work({ adapter: name, cacheSalt: name });
      } catch (error) {
        if (!(WeirError.isInstance(error) && error.code === "WEIR_E_REMOTE_STATE")) throw error;
        // A server that was started anew has none of the adapters, and answers as if nothing had happened.
        this.loaded.delete(name);
        await this.bring(policy, options);
        return await work({ adapter: name, cacheSalt: name });
      }
    } finally {
      end();
    }
  }

  spans(policy: PublishedPolicy | null, drawn: Drawn): readonly PolicySpan[] {
    return wholeSpan(policy, drawn);
  }

  async dispose(options: Call): Promise<void> {
    this.loaded.clear();
    await Promise.all([...this.own].map((name) => this.server.unloadAdapter(name, options)));
    this.own.clear();
  }

  /** Loads an adapter, once for all that wait for it. */
  private bring(policy: PublishedPolicy, options: Call): Promise<void> {
    const name = policyName(policy.version);
    const found = this.loaded.get(name);
    if (found !== undefined) return found.ready;
    const ready = this.load(name, policy, options);
    const entry = { policy, ready };
    this.loaded.set(name, entry);
    ready.catch(() => {
      if (this.loaded.get(name) === entry) this.loaded.delete(name);
    });
    return ready;
  }

  private async load(name: string, { artifact, version }: PublishedPolicy, options: Call): Promise<void> {
    if (artifact.kind !== "adapter")
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${version.n} is a ${artifact.kind}, an adapter is needed`,
      );
    if (this.maxRank !== null && artifact.rank > this.maxRank)
      throw new WeirError(
        "WEIR_E_CAPABILITY",
        `${this.server.url} takes adapters up to rank ${this.maxRank}, the policy's has rank ${artifact.rank}; start it with --max-lora-rank ${artifact.rank}, or lower model.lora.rank`,
        { url: this.server.url, rank: artifact.rank, maxRank: this.maxRank },
      );
    await this.server.loadAdapter(name, artifact.uri, options);
    this.own.add(name);
  }

  private begin(name: string): () => void {
    const entry = this.draws.get(name) ?? { count: 0, ended: [] };
    this.draws.set(name, entry);
    entry.count += 1;
    return () => {
      entry.count -= 1;
      if (entry.count > 0) return;
      this.draws.delete(name);
      for (const tell of entry.ended) tell();
    };
  }

  private async idle(name: string, signal: AbortSignal): Promise<void> {
    const entry = this.draws.get(name);
    if (entry !== undefined) await whenTold(entry.ended, signal);
  }
}
