import type { PolicySpan } from "../../contracts/policy-version.js";
import type { PublishedPolicy } from "../../contracts/published-policy.js";
import type { Call, Drawn, ServerFacts } from "./generation-server.js";

/** How the weights of a draw are asked for. */
export interface DrawFrom {
  readonly adapter: string | null;
  readonly cacheSalt: string;
}

/**
 * Which policies one server holds, and how they get there. A policy of null is version 0 as the server was started with it, before
 * anything was adopted.
 */
export interface ServerWeights {
  /** Numbers of the versions that can be sampled from now. */
  readonly held: readonly number[];
  /** What a server that has just answered holds. `known`: the policies that are in use, the newest last. */
  connected(facts: ServerFacts, known: readonly PublishedPolicy[], options: Call): Promise<void>;
  /** Has the server take a policy; one that it has is no work. `wait`: after the draws under way; `keep`: beneath them. */
  adopt(policy: PublishedPolicy, options: Call & { readonly inFlight: "keep" | "wait" }): Promise<void>;
  /** Gives a policy up, once nothing is drawn from it any more. */
  release(policy: PublishedPolicy, options: Call): Promise<void>;
  /**
   * Runs a draw from a policy and keeps the policy in place until it has ended. Errors: those of `work`; `PolicyChanged` where the
   * server has meanwhile been given another one.
   */
  draw<T>(policy: PublishedPolicy | null, work: (from: DrawFrom) => Promise<T>, options: Call): Promise<T>;
  /** Which version drew which tokens. Errors: WEIR_E_UNREACHABLE where the server has lost what it was given. */
  spans(policy: PublishedPolicy | null, drawn: Drawn): readonly PolicySpan[];
  /** Leaves nothing of its own at the server. */
  dispose(options: Call): Promise<void>;
}

/** A server no longer holds the policy that a draw was to come from; the request is placed anew. */
export class PolicyChanged extends Error {}

export function isSamePolicy(a: PublishedPolicy | null, b: PublishedPolicy | null): boolean {
  return a?.version.n === b?.version.n && a?.version.sha256 === b?.version.sha256;
}

/** One span over all tokens; none over no tokens. */
export function wholeSpan(policy: PublishedPolicy | null, { tokenIds }: Drawn): readonly PolicySpan[] {
  const { n, sha256 } = policy?.version ?? { n: 0, sha256: "" };
  return tokenIds.length === 0 ? [] : [{ version: n, sha256, start: 0, end: tokenIds.length }];
}
