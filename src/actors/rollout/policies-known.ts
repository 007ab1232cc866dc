/** The policies that a pool may sample from: the newest, and older ones that nobody has released. Pure. */
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { PolicyWanted } from "../../contracts/sampler.js";
import type { HeldVersion } from "./sampler-member.js";

export class KnownPolicies {
  /** The policy that was adopted last; null before the first. */
  newest: PublishedPolicy | null = null;
  private readonly known = new Map<number, PublishedPolicy>();

  /** Takes a policy as the newest. After a rollback its number is an older one: all from there on are forgotten. */
  add(policy: PublishedPolicy): void {
    for (const n of [...this.known.keys()]) if (n >= policy.version.n) this.known.delete(n);
    this.known.set(policy.version.n, policy);
    this.newest = policy;
  }

  /** Gives a version up; the newest stays. */
  release(n: number): void {
    if (n !== this.newest?.version.n) this.known.delete(n);
  }

  /** Takes a policy back that no sampler can read; the newest of the others takes its place. */
  refuse(policy: PublishedPolicy): void {
    if (this.known.get(policy.version.n) !== policy) return;
    this.known.delete(policy.version.n);
    const newest = Math.max(...this.known.keys());
    if (this.newest === policy) this.newest = this.known.get(newest) ?? null;
  }

  isNewest({ version }: PublishedPolicy): boolean {
    return this.newest?.version.n === version.n && this.newest.version.sha256 === version.sha256;
  }

  /** Whether a held version may answer a request. Before the first adoption samplers answer from what they started with. */
  serves({ n, sha256 }: HeldVersion, wanted: PolicyWanted | null): boolean {
    if (this.newest !== null && this.known.get(n)?.version.sha256 !== sha256) return false;
    if (wanted === null) return true;
    return "exactly" in wanted ? n === wanted.exactly : n >= wanted.atLeast;
  }

  /** The policy to load for a request; null where none is known that fits. */
  policyFor(wanted: PolicyWanted | null): PublishedPolicy | null {
    if (wanted !== null && "exactly" in wanted) return this.known.get(wanted.exactly) ?? null;
    const { newest } = this;
    return newest === null || wanted === null || newest.version.n >= wanted.atLeast ? newest : null;
  }
}
