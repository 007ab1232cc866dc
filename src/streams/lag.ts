import type { SampleGroup } from "../contracts/group.js";
import type { PolicySpan, PolicyVersion } from "../contracts/policy-version.js";
import type { Rollout } from "../contracts/rollout.js";
import { WeirError } from "../errors.js";

/**
 * Lag of sampled tokens: the trainer's version n at the start of an update minus the version that sampled them. Pure.
 * Invariants: lag 0 is the very weights of the trainer (I9); the lag of every token that is trained on is known and at most
 * `async.maxLag` (I13).
 */

type SampledTokens = Pick<Rollout, "id" | "tokenIds" | "policy">;

/** Lag of each token. [T], versions. Throws WEIR_E_POLICY_VERSION where no span covers a token. */
export function lagsOf(rollout: SampledTokens, policy: Pick<PolicyVersion, "n">): number[] {
  const lags = new Array<number>(rollout.tokenIds.length).fill(Number.NaN);
  for (const { version, start, end } of rollout.policy) lags.fill(policy.n - version, start, end);
  const unknown = lags.findIndex(Number.isNaN);
  if (unknown < 0) return lags;
  throw new WeirError(
    "WEIR_E_POLICY_VERSION",
    `rollout ${rollout.id} does not say which policy version sampled token ${unknown} of ${lags.length}: a sampler gives spans over all tokens`,
    { rollout: rollout.id, token: unknown },
  );
}

/** Largest lag of a rollout's tokens, versions; 0 where it has none. Throws WEIR_E_POLICY_VERSION as `lagsOf`. */
export function largestLag(rollout: SampledTokens, policy: Pick<PolicyVersion, "n">): number {
  return lagsOf(rollout, policy).reduce((most, lag) => Math.max(most, lag), 0);
}

/** Number of tokens of each lag from 0 to `bound`. [bound + 1]. Throws WEIR_E_SHAPE for a lag outside. */
export function tokensByLag(lags: readonly (readonly number[])[], bound: number): number[] {
  const counts = new Array<number>(bound + 1).fill(0);
  for (const lag of lags.flat()) {
    const count = counts[lag];
    if (count === undefined)
      throw new WeirError("WEIR_E_SHAPE", `a histogram of lags 0 to ${bound} has no place for a token of lag ${lag}`);
    counts[lag] = count + 1;
  }
  return counts;
}

/**
 * Refuses rollouts that the trainer may not train on.
 * Throws WEIR_E_POLICY_VERSION where a token was drawn from a later version than the trainer's, from one more than `maxLag` versions
 * older, from other weights of the same version, or from an unknown one (I13).
 */
export function assertLag(groups: readonly SampleGroup[], policy: PolicyVersion, maxLag: number): void {
  for (const { rollout } of groups.flatMap((group) => group.samples)) {
    const other = rollout.policy.find((span) => !mayTrain(span, policy, maxLag));
    if (other !== undefined) throw lagError(rollout.id, other, policy, maxLag);
    lagsOf(rollout, policy);
  }
}

function mayTrain({ version, sha256 }: PolicySpan, policy: PolicyVersion, maxLag: number): boolean {
  const lag = policy.n - version;
  return lag === 0 ? sha256 === policy.sha256 : lag > 0 && lag <= maxLag;
}

function lagError(id: string, span: PolicySpan, policy: PolicyVersion, maxLag: number): WeirError {
  const who =
    `rollout ${id} has tokens of policy version ${span.version} (${span.sha256.slice(0, 12)}…), the trainer holds ${policy.n} ` +
    `(${policy.sha256.slice(0, 12)}…)`;
  const lag = policy.n - span.version;
  const why =
    lag > 0 && maxLag > 0
      ? `a lag of ${lag} is more than async.maxLag (${maxLag}). Drop such groups before the update`
      : "its log-probs would be taken for those of another policy. Let the sampler adopt each version";
  return new WeirError("WEIR_E_POLICY_VERSION", `${who}: ${why}`, {
    rollout: id,
    sampled: span.version,
    trainer: policy.n,
    lag,
    maxLag,
  });
}
