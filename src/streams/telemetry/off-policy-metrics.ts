import { klEstimate } from "../../algorithms/kl.js";
import { effectiveShare } from "../../algorithms/statistics.js";
import type { LagStatus } from "../../contracts/actor-status.js";
import { tokensByLag } from "../lag.js";
import type { MetricDraft, MetricValues } from "./metrics.js";

/** What an update measures of samples that another policy drew: their lag, and what rollout correction did. Pure. */

/** The tokens of an update by lag. */
export interface LagFacts extends LagStatus {
  /** Token mean of k3 between π_old and the sampler at each lag, nats; null where no token of that lag was compared. */
  readonly kl: readonly (number | null)[]; // [bound + 1]
}

/** Weights of the tokens of an update. */
export interface CorrectionFacts {
  /** Mean and maximum of the weights that are not 0; null where all are 0. */
  readonly weightMean: number | null;
  readonly weightMax: number | null;
  /** Share of tokens whose importance weight a bound changed; null without importance weights. */
  readonly clippedShare: number | null;
  /** Kish's effective sample size over the number of tokens. */
  readonly effectiveShare: number;
  /** Share of tokens of weight 0. */
  readonly rejectedShare: number;
}

export interface OffPolicyFacts {
  /** Null where `async.maxLag` is 0. */
  readonly lag: LagFacts | null;
  /** Null without rollout correction, and without tokens. */
  readonly correction: CorrectionFacts | null;
}

/** Log-probs of one response by the sampler and by the trainer at the start of the update, nats, and its tokens' lags. */
export interface ComparedRow {
  readonly sampler: readonly number[]; // [T]
  readonly trainer: readonly number[]; // [T]
  readonly lags: readonly number[]; // [T]
}

/** `lags`: of every token of the update; `compared`: the responses that both sampler and trainer scored. */
export function lagFacts(
  lags: readonly (readonly number[])[],
  compared: readonly ComparedRow[],
  bound: number,
): LagFacts {
  const sums = new Array<number>(bound + 1).fill(0);
  for (const row of compared) {
    for (const [t, lag] of row.lags.entries())
      sums[lag] = (sums[lag] ?? 0) + klEstimate(row.sampler[t] as number, row.trainer[t] as number, "k3", false);
  }
  const counts = tokensByLag(
    compared.map((row) => row.lags),
    bound,
  );
  const kl = sums.map((sum, lag) => (counts[lag] === 0 ? null : sum / (counts[lag] as number)));
  return { bound, tokens: tokensByLag(lags, bound), kl };
}

/** What correction made of one response. */
export interface CorrectedRow {
  readonly weights: readonly number[]; // [T]
  /** Number of tokens whose importance weight a bound changed. */
  readonly clipped: number;
}

/** Null where there is no token. */
export function correctionFacts(rows: readonly CorrectedRow[], withImportance: boolean): CorrectionFacts | null {
  const weights = rows.flatMap((row) => row.weights);
  if (weights.length === 0) return null;
  const counted = weights.filter((weight) => weight !== 0);
  const sum = counted.reduce((total, weight) => total + weight, 0);
  const clipped = rows.reduce((total, row) => total + row.clipped, 0);
  return {
    weightMean: counted.length === 0 ? null : sum / counted.length,
    weightMax: counted.length === 0 ? null : counted.reduce((most, weight) => Math.max(most, weight), 0),
    clippedShare: withImportance ? clipped / weights.length : null,
    effectiveShare: effectiveShare(weights),
    rejectedShare: 1 - counted.length / weights.length,
  };
}

/** Metrics by registered name; those that nothing was measured for are absent. */
export function offPolicyMetrics({ lag, correction }: OffPolicyFacts): MetricValues {
  return { ...(lag === null ? {} : lagMetrics(lag)), ...(correction === null ? {} : correctionMetrics(correction)) };
}

function lagMetrics({ tokens, kl }: LagFacts): MetricValues {
  const count = tokens.reduce((total, of) => total + of, 0);
  if (count === 0) return {};
  const values: MetricDraft = {
    "lag/mean": tokens.reduce((total, of, lag) => total + lag * of, 0) / count,
    "lag/max": tokens.findLastIndex((of) => of > 0),
    "lag/stale_share": 1 - (tokens[0] ?? 0) / count,
  };
  for (const [lag, of] of tokens.entries()) values[`lag/tokens_${lag}`] = of;
  for (const [lag, mean] of kl.entries()) if (mean !== null) values[`kl/lag_${lag}`] = mean;
  return values;
}

function correctionMetrics(facts: CorrectionFacts): MetricValues {
  const values: MetricDraft = {
    "correction/effective_share": facts.effectiveShare,
    "correction/rejected_share": facts.rejectedShare,
  };
  if (facts.weightMean !== null) values["correction/weight_mean"] = facts.weightMean;
  if (facts.weightMax !== null) values["correction/weight_max"] = facts.weightMax;
  if (facts.clippedShare !== null) values["correction/clipped_share"] = facts.clippedShare;
  return values;
}
