import type { ArtifactKind, PublishedPolicy } from "./published-policy.js";

export interface PolicyStoreCapabilities {
  /** Forms of weights that it can hold. */
  readonly holds: readonly ArtifactKind[];
}

/**
 * Hands published weights from a trainer to samplers. A version that has been published never changes, and is either there
 * as a whole or not at all. Version numbers grow within a run; a publication of an older number (after a rollback or a resume)
 * replaces what was published under it and drops all newer ones.
 */
export interface PolicyStore {
  readonly kind: string;
  readonly specificationVersion: 1;
  readonly capabilities: PolicyStoreCapabilities;
  /**
   * Publishes what `write` makes. `write` gets an empty folder to put the weights in (null where `as` is `handle`) and returns
   * what it wrote; the policy returned has the final address. On a failure of `write` nothing is published.
   * Errors: WEIR_E_POLICY_STORE, WEIR_E_DISK.
   */
  publish(
    as: ArtifactKind,
    write: (folder: string | null) => Promise<PublishedPolicy>,
    options: { readonly signal: AbortSignal },
  ): Promise<PublishedPolicy>;
  /** The newest policy; null before the first publication. */
  current(options: { readonly signal: AbortSignal }): Promise<PublishedPolicy | null>;
  /** A verified local folder with the weights of a version. Errors: WEIR_E_POLICY_STORE where it is gone, damaged, or a handle. */
  fetch(version: number, options: { readonly signal: AbortSignal }): Promise<string>;
  /** Policies newer than `after` as they are published; a slow reader gets the newest and skips those between. Ends with the signal. */
  watch(after: number, options: { readonly signal: AbortSignal }): AsyncIterable<PublishedPolicy>;
  /**
   * Asked before each training step, so that a lack of room is found before anything is trained that could not be published.
   * Errors: WEIR_E_POLICY_BUDGET where the next version would not fit; the run is paused and asks again.
   */
  assertRoom?(): Promise<void>;
  /** Removes every version that is neither given nor the newest. */
  retain(versions: ReadonlySet<number>): Promise<void>;
  /** Connects to its server; called once before anything else, and again after a loss. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
