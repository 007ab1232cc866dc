import type { PolicyStore } from "../../contracts/policy-store.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import { ARTIFACT_KINDS, type ArtifactKind, type PublishedPolicy } from "../../contracts/published-policy.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";

/**
 * Brings the trainer's weights to the sampler: publishes them through the policy store and has the sampler adopt them.
 * Invariant: nothing is sampled from weights that have no version (I9).
 */

export interface PublishingParts {
  readonly trainer: Pick<Trainer, "kind" | "capabilities" | "publish">;
  readonly policyStore: PolicyStore;
  readonly sampler: Sampler;
}

/**
 * The form in which weights go from trainer to sampler: a handle where both work on the same server, else the smallest that all
 * three know. Errors: WEIR_E_CAPABILITY where there is none.
 */
export function artifactKind({ trainer, policyStore, sampler }: PublishingParts): ArtifactKind {
  const together = trainer.kind === sampler.kind;
  const order = together
    ? (["handle", "adapter", "checkpoint"] as const)
    : (["adapter", "checkpoint", "handle"] as const);
  const found = order.find(
    (kind) =>
      trainer.capabilities.publishes.includes(kind) &&
      policyStore.capabilities.holds.includes(kind) &&
      sampler.capabilities.adopts.includes(kind),
  );
  if (found !== undefined) return found;
  const list = (kinds: readonly ArtifactKind[]) => kinds.join(", ") || "nothing";
  throw new WeirError(
    "WEIR_E_CAPABILITY",
    `weights cannot get to the sampler: the trainer "${trainer.kind}" publishes ${list(trainer.capabilities.publishes)}, the policy store ` +
      `"${policyStore.kind}" holds ${list(policyStore.capabilities.holds)}, the sampler "${sampler.kind}" adopts ${list(sampler.capabilities.adopts)}; ` +
      "choose parts that have one of them in common",
    { known: ARTIFACT_KINDS },
  );
}

/** What came of an adoption: the version, and the end of giving up what it takes the place of. */
interface Brought {
  readonly version: PolicyVersion;
  readonly released: Promise<void>;
}

export class PolicyPublisher {
  private published: PublishedPolicy | null = null;
  private adopted: { readonly sampler: Sampler; readonly version: PolicyVersion } | null = null;
  /** Versions that the sampler `givenTo` was given and has not been told to give up. */
  private readonly given = new Set<number>();
  private givenTo: Sampler | null = null;
  /** Users of a version that must stay although newer ones are published. */
  private readonly leases = new Map<number, number>();
  private changed = true;
  private bringing: Promise<unknown> = Promise.resolve();
  /** Versions are given up beside adoptions: that waits for the sequences which are still drawn from them. */
  private releasing: Promise<unknown> = Promise.resolve();
  /** What the trainer said of the weights that it loaded; of no use once something is published. */
  private loaded: PolicyVersion | null = null;

  /** `parts` is read anew at each publication: a sampler may be replaced. */
  constructor(
    private readonly parts: () => PublishingParts,
    /** What becomes of sequences that are being drawn when the sampler adopts a policy. */
    private readonly inFlight: "keep" | "wait" = "wait",
  ) {}

  /** The trainer's weights are no longer those that were published last. */
  markChanged(): void {
    this.changed = true;
  }

  /** The trainer has loaded weights of this version; nothing is known of what the sampler holds. */
  reset(loaded: PolicyVersion | null): void {
    this.changed = true;
    this.adopted = null;
    this.published = null;
    this.loaded = loaded;
  }

  /** The sampler may have lost what it adopted: it is given the policy again before anything is sampled. */
  forgetAdoption(): void {
    this.adopted = null;
  }

  /** The version that was published or loaded last; 0 without a hash before either. */
  get version(): PolicyVersion {
    return this.published?.version ?? this.loaded ?? { n: 0, sha256: "" };
  }

  /** The sampler is known to hold a policy. */
  get isAdopted(): boolean {
    return this.adopted !== null;
  }

  /** The version that the sampler adopted last; `version` where nothing is known of it. */
  get sampledVersion(): number {
    return this.adopted?.version.n ?? this.version.n;
  }

  /** Keeps a version with the sampler and in the store until the returned function is called. */
  lease(n: number): () => void {
    this.leases.set(n, (this.leases.get(n) ?? 0) + 1);
    let ended = false;
    return () => {
      const left = (this.leases.get(n) ?? 0) - 1;
      if (ended) return;
      ended = true;
      if (left > 0) this.leases.set(n, left);
      else this.leases.delete(n);
    };
  }

  /** Errors: WEIR_E_POLICY_BUDGET where the next version could not be published. */
  async assertRoom(): Promise<void> {
    const ask = async () => this.parts().policyStore.assertRoom?.();
    try {
      await ask();
    } catch {
      // An adoption under way gives the version up that it takes the place of.
      await this.bringing;
      await this.releasing;
      await ask();
    }
  }

  /** The trainer's policy, published and adopted by the sampler; does nothing where both have been done already. */
  current(signal: AbortSignal): Promise<PolicyVersion> {
    return this.handOver(this.parts(), signal);
  }

  /** Names and publishes the trainer's weights; the sampler goes on with those that it has. */
  async publishNow(signal: AbortSignal): Promise<PolicyVersion> {
    return (await this.publish(this.parts(), signal)).version;
  }

  /**
   * Has the sampler adopt what was published last; waits for an adoption under way and skips what is outdated by then. Resolves once new
   * sequences are drawn from it; `released` does once no older version is held without a lease, which may take as long as a sequence.
   */
  async adoptLatest(signal: AbortSignal): Promise<{ readonly released: Promise<void> }> {
    const { released } = await this.bring(this.parts(), signal, this.published);
    return { released };
  }

  /** The same for parts that are to take the place of those in use: a new sampler adopts the policy before it draws. */
  async handOver(parts: PublishingParts, signal: AbortSignal): Promise<PolicyVersion> {
    const { version, released } = await this.bring(parts, signal);
    await released;
    return version;
  }

  /** One after another: what a sampler holds is known only once it has adopted it. */
  private bring(parts: PublishingParts, signal: AbortSignal, given: PublishedPolicy | null = null): Promise<Brought> {
    const work = this.bringing.then(() => this.bringNow(parts, signal, given));
    this.bringing = work.catch(() => undefined);
    return work;
  }

  private async bringNow(parts: PublishingParts, signal: AbortSignal, given: PublishedPolicy | null): Promise<Brought> {
    signal.throwIfAborted();
    const { sampler } = parts;
    // While training goes on, the trainer's weights may not be those of any version: nothing is published from here then.
    const policy = given === null ? await this.publish(parts, signal) : (this.published ?? given);
    const { version } = policy;
    const before = this.adopted;
    if (before?.sampler === sampler && isSame(before.version, version)) return { version, released: Promise.resolve() };
    if (this.givenTo !== sampler) this.given.clear();
    this.givenTo = sampler;
    await sampler.adopt(policy, { signal, inFlight: this.inFlight });
    this.adopted = { sampler, version };
    this.given.add(version.n);
    const released = this.releasing.then(() => this.giveUp(version.n, parts, signal));
    this.releasing = released.catch(() => undefined);
    return { version, released };
  }

  /** After the adoption of `newest`: has the sampler give up what is older and not leased, and the store what nobody holds. */
  private async giveUp(newest: number, { policyStore, sampler }: PublishingParts, signal: AbortSignal): Promise<void> {
    for (const n of [...this.given]) {
      // A newer one may have been adopted meanwhile, by another sampler too.
      if (this.givenTo !== sampler) break;
      if (n === newest || n === this.adopted?.version.n || this.leases.has(n)) continue;
      await sampler.release(n, { signal });
      if (this.givenTo === sampler) this.given.delete(n);
    }
    // A newer one may have been published meanwhile.
    await policyStore.retain(new Set([...this.given, ...this.leases.keys(), this.version.n]));
  }

  private async publish(parts: PublishingParts, signal: AbortSignal): Promise<PublishedPolicy> {
    const as = artifactKind(parts);
    const known = this.published;
    if (known !== null && !this.changed && known.artifact.kind === as) return known;
    const { trainer, policyStore } = parts;
    const write = (folder: string | null) => trainer.publish({ signal, as, folder });
    this.published = await policyStore.publish(as, write, { signal });
    this.changed = false;
    return this.published;
  }
}

function isSame(a: PolicyVersion, b: PolicyVersion): boolean {
  return a.n === b.n && a.sha256 === b.sha256;
}
