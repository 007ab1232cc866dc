import type { MetricName } from "./metrics.js";

/** Who caused a metric: what each rollout contributed to it. */

/** A rollout's part in a metric: its contribution and the token that contributed most. */
export interface Contribution {
  readonly rolloutId: string;
  readonly contribution: number;
  readonly tokenIndex: number;
  /** Metric that this explains; all metrics if left out. */
  readonly metric?: MetricName;
}

export const KL_METRIC = "kl/old_k3" satisfies MetricName;
export const REFERENCE_METRIC = "kl/ref" satisfies MetricName;
export const MISMATCH_METRIC = "mismatch_abs" satisfies MetricName;

/** Culprits per alert. */
const TOP_K = 5;

/** The rollouts that contributed most to a metric, or least where `smallestFirst`. A contribution of NaN ranks first. */
export function culpritsOf(
  contributions: readonly Contribution[],
  about: MetricName,
  smallestFirst: boolean,
): Omit<Contribution, "metric">[] {
  const sign = smallestFirst ? 1 : -1;
  return contributions
    .filter(({ metric }) => metric === undefined || metric === about)
    .sort((a, b) => sign * rankable(a, sign) - sign * rankable(b, sign))
    .slice(0, TOP_K)
    .map(({ rolloutId, contribution, tokenIndex }) => ({ rolloutId, contribution, tokenIndex }));
}

function rankable({ contribution }: Contribution, sign: number): number {
  return Number.isNaN(contribution) ? -sign * Number.MAX_VALUE : contribution;
}

/** Contributions of rollouts to a metric from its per-token parts: their sum, and the position of the largest. Rollouts without tokens are left out. */
export function contributionsOfTokens(
  metric: MetricName,
  rollouts: readonly { readonly rolloutId: string; readonly perToken: readonly number[] }[],
): Contribution[] {
  return rollouts.flatMap(({ rolloutId, perToken }) => {
    if (perToken.length === 0) return [];
    let tokenIndex = 0;
    let contribution = 0;
    perToken.forEach((value, index) => {
      contribution += value;
      if (value > (perToken[tokenIndex] as number)) tokenIndex = index;
    });
    return [{ rolloutId, contribution, tokenIndex, metric }];
  });
}
