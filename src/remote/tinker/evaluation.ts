/** Metrics and gradient of a batch from log-probs of its sequences at the present weights; everything but those is computed here. */
import type { LossSequence } from "../../contracts/loss.js";
import type {
  EvaluateLoss,
  PolicyBatch,
  PolicyMetrics,
  SftAggregation,
  SftBatch,
  SftMetrics,
} from "../../contracts/trainer.js";
import { completionWeights, hostEvaluation } from "../../losses/host-evaluation.js";
import { assertFiniteMetrics, PolicyMetricSums } from "../../losses/policy-metrics.js";
import { sftWeights } from "../../losses/supervised.js";
import { policyGradient, type QueuedGradient, supervisedGradient } from "./gradients.js";
import type { Sequence } from "./rows.js";

export interface JudgedPolicy {
  readonly metrics: PolicyMetrics;
  readonly gradient: QueuedGradient;
}

export interface JudgedRows {
  readonly metrics: SftMetrics;
  readonly gradient: QueuedGradient;
}

type Values = readonly (readonly number[])[];

/** The sequences of a batch in the order of groups and completions. */
export function policySequences({ groups }: PolicyBatch): Sequence[] {
  return groups.flatMap(({ promptIds, completions }) => completions.map(({ tokenIds }) => ({ promptIds, tokenIds })));
}

/** `logprobs`: of `policySequences`. Errors: WEIR_E_NON_FINITE, and those of the loss. */
export async function evaluatePolicy(
  batch: PolicyBatch,
  logprobs: Values, // [N][T]
  evaluate: EvaluateLoss | null,
): Promise<JudgedPolicy> {
  const completions = batch.groups.flatMap((group) => group.completions);
  const seen = completions.map((completion, i): LossSequence => {
    const own = logprobs[i] as readonly number[];
    const { advantages, oldLogprobs, refLogprobs } = completion;
    return {
      logprobs: own,
      old: oldLogprobs ?? own,
      reference: refLogprobs,
      advantages,
      weights: completionWeights(batch, completion),
    };
  });
  const evaluation = await hostEvaluation(batch.loss, evaluate)(seen);
  const sequences = policySequences(batch);
  const references = seen.map(({ reference }) => reference).filter((reference) => reference !== null);
  const sums = new PolicyMetricSums(batch.loss);
  sums.add(
    {
      logprobs: flat(logprobs),
      old: flat(seen.map(({ old }) => old)),
      reference: references.length === seen.length ? flat(references) : null,
      weights: flat(seen.map(({ weights }) => weights)),
      entropies: null,
    },
    evaluation,
    tokensOf(sequences),
  );
  const metrics = sums.finish(nested(batch.groups, logprobs));
  const { logprobs: _, ...numbers } = metrics;
  assertFiniteMetrics(numbers);
  return { metrics, gradient: policyGradient(batch.loss, sequences, seen, evaluation, batch.oldPolicy === null) };
}

interface SupervisedRow {
  readonly sequence: Sequence;
  readonly mask: readonly number[]; // [T]
  /** In the batch's loss. */
  readonly weights: readonly number[]; // [T]
}

/** Rows with a supervised token; the first token of a row is its prompt. */
export function supervisedRows(batch: SftBatch): SupervisedRow[] {
  const weights = sftWeights(batch);
  return batch.rows.flatMap(({ tokenIds, lossMask }, i) => {
    const own = (weights[i] as number[]).slice(1);
    if (!own.some((weight) => weight !== 0)) return [];
    return [
      {
        sequence: { promptIds: tokenIds.slice(0, 1), tokenIds: tokenIds.slice(1) },
        mask: lossMask.slice(1),
        weights: own,
      },
    ];
  });
}

/** Errors: WEIR_E_NON_FINITE. */
export function evaluateRows(
  aggregation: SftAggregation,
  rows: readonly SupervisedRow[],
  logprobs: Values, // [N][T]
): JudgedRows {
  const scored = rows.map((row, i) => ({ ...row, logprobs: logprobs[i] as readonly number[] }));
  let loss = 0;
  let tokens = 0;
  for (const { weights, logprobs } of scored)
    weights.forEach((weight, t) => {
      if (weight === 0) return;
      loss -= weight * (logprobs[t] as number);
      tokens += 1;
    });
  assertFiniteMetrics({ loss });
  const paddedTokens = tokensOf(rows.map(({ sequence }) => sequence));
  return {
    metrics: { loss, tokens, paddedTokens, microBatches: 1 },
    gradient: supervisedGradient(aggregation, scored),
  };
}

/** Values per sequence in the order of groups and completions. [P][G][T] */
export function nested(groups: readonly { readonly completions: readonly unknown[] }[], values: Values): Values[] {
  let at = 0;
  return groups.map(({ completions }) => completions.map(() => values[at++] as readonly number[]));
}

function flat(values: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from(values.flatMap((row) => Array.from(row)));
}

function tokensOf(sequences: readonly Sequence[]): number {
  return sequences.reduce((sum, { promptIds, tokenIds }) => sum + promptIds.length + tokenIds.length, 0);
}
