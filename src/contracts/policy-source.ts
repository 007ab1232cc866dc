import type { PublishedPolicy } from "./published-policy.js";
import type { PolicyWanted } from "./sampler.js";

/** Where a process that does not train gets policies from. */
export interface PolicySource {
  /**
   * A policy whose artifact lies on this machine. Errors: WEIR_E_POLICY_VERSION where the one that is wanted is not published or is
   * gone; WEIR_E_POLICY_STORE where it came damaged; WEIR_E_POLICY_BUDGET where the disk has no room for it; WEIR_E_UNREACHABLE.
   */
  get(wanted: PolicyWanted, options: { readonly signal: AbortSignal }): Promise<PublishedPolicy>;
  /** Removes from this machine every version that is not given. */
  keep(versions: ReadonlySet<number>): Promise<void>;
  dispose?(): Promise<void> | void;
}
