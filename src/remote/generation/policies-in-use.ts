/** The policies that a group of servers samples from, the newest last. Pure. */
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { PolicyWanted } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import type { PolicyForm } from "./generation-server.js";
import { isSamePolicy } from "./server-weights.js";

export interface PoliciesInUse {
  readonly all: readonly PublishedPolicy[];
  /** Takes a policy as the newest; the policies whose place it takes. After a rollback its number may be an older one. */
  add(policy: PublishedPolicy): readonly PublishedPolicy[];
  /** Takes a policy back that no server can read. */
  refuse(policy: PublishedPolicy): void;
  /** Gives a version up: the policy, or null where it is not there or the newest, which stays. */
  release(n: number): PublishedPolicy | null;
  /**
   * The policy for a request; null is version 0 as the servers were started with it, before anything was adopted.
   * Errors: WEIR_E_POLICY_VERSION.
   */
  wanted(policy: PolicyWanted | null): PublishedPolicy | null;
}

/** Servers hold any number of adapters, and one model folder. */
export function policiesInUse(form: PolicyForm): PoliciesInUse {
  let all: readonly PublishedPolicy[] = [];
  const fits = (n: number, wanted: PolicyWanted | null) =>
    wanted === null || ("exactly" in wanted ? n === wanted.exactly : n >= wanted.atLeast);
  return {
    get all() {
      return all;
    },
    add(policy) {
      const { n } = policy.version;
      const kept = form === "adapter" ? all.filter(({ version }) => version.n < n) : [];
      const dropped = all.filter((old) => !kept.includes(old) && !isSamePolicy(old, policy));
      all = [...kept, policy];
      return dropped;
    },
    refuse(policy) {
      all = all.filter((old) => old !== policy);
    },
    release(n) {
      const found = all.find(({ version }) => version.n === n);
      if (found === undefined || found === all.at(-1)) return null;
      all = all.filter((old) => old !== found);
      return found;
    },
    wanted(wanted) {
      const newest = all.at(-1);
      if (newest === undefined && fits(0, wanted)) return null;
      const exact =
        wanted !== null && "exactly" in wanted ? all.find(({ version }) => version.n === wanted.exactly) : newest;
      if (exact !== undefined && fits(exact.version.n, wanted)) return exact;
      const asked = wanted === null ? "any" : "exactly" in wanted ? `${wanted.exactly}` : `${wanted.atLeast} or newer`;
      const held = all.map(({ version }) => version.n).join(", ") || "0";
      throw new WeirError(
        "WEIR_E_POLICY_VERSION",
        `policy version ${asked} was asked for, the servers hold version ${held}`,
        { wanted },
      );
    },
  };
}
