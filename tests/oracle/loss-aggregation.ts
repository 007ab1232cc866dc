/**
 * How token losses [B, T] become one number: the four modes of the contract (exact), verl's upstream variants
 * (with its 1e-8 and its data-parallel bookkeeping) and the two of the release, plus the weighting of micro-batches.
 * Invariant of the exact modes (I6): with global denominators, the sum over any split equals the value of the whole.
 */
import { at } from "../../src/algorithms/shapes.js";
import type { LossAggregation } from "../../src/contracts/loss.js";
import { WeirError } from "../../src/errors.js";
import { maskCount, maskedSum } from "./masked.js";
import { assertSameShape, type Matrix } from "./shapes.js";

export type LossMode = LossAggregation;

/** Denominators of the whole optimiser batch; computed before it is split. */
export interface AggregationDenominators {
  /** Unmasked tokens. */
  readonly tokens: number;
  /** Sequences with at least one unmasked token. */
  readonly sequences: number;
}

export interface AggregationOptions {
  readonly denominators?: AggregationDenominators;
  /** Divisor of seq-mean-token-sum-norm; the padded length when left out. */
  readonly scale?: number;
}

/** Tokens and non-empty sequences of a mask. */
export function denominatorsOf(mask: Matrix): AggregationDenominators {
  return { tokens: maskCount(mask), sequences: mask.filter((row) => row.some((m) => m !== 0)).length };
}

/**
 * Exact aggregation. token-mean: Σℓ/N_tokens (Eq. 6). seq-mean-token-mean: (1/N_seq) Σ_i mean_t ℓ (Eq. 4).
 * seq-mean-token-sum: (1/N_seq) Σℓ. seq-mean-token-sum-norm: Σℓ/scale. seq-mean-token-sum-constant: (1/N_seq) Σℓ/scale
 * (Dr. GRPO). Empty rows count in none.
 */
export function aggregateLoss(loss: Matrix, mask: Matrix, mode: LossMode, options: AggregationOptions = {}): number {
  assertSameShape("loss, mask", loss, mask);
  const { tokens, sequences } = options.denominators ?? denominatorsOf(mask);
  switch (mode) {
    case "token-mean":
      return maskedSum(loss, mask) / positive("tokens", tokens);
    case "seq-mean-token-mean":
      return total(rowMeans(loss, mask, 0)) / positive("sequences", sequences);
    case "seq-mean-token-sum":
      return maskedSum(loss, mask) / positive("sequences", sequences);
    case "seq-mean-token-sum-norm":
      return maskedSum(loss, mask) / positive("scale", options.scale ?? mask[0]?.length ?? 0);
    case "seq-mean-token-sum-constant":
      return maskedSum(loss, mask) / (positive("sequences", sequences) * positive("scale", options.scale ?? 0));
  }
}

export interface UpstreamOptions {
  /** Tokens of the global batch; those of the mask when left out. */
  readonly batchTokens?: number;
  /** Sequences of the global batch; the non-empty rows when left out. */
  readonly globalSequences?: number;
  readonly dataParallel?: number;
  readonly scale?: number;
}

/** verl upstream: row means carry +1e-8 in their denominator; global counts are multiplied by the data-parallel width. */
export function aggregateLossUpstream(
  loss: Matrix,
  mask: Matrix,
  mode: Exclude<LossMode, "seq-mean-token-sum-constant">,
  options: UpstreamOptions = {},
): number {
  assertSameShape("loss, mask", loss, mask);
  const own = denominatorsOf(mask);
  const width = options.dataParallel ?? 1;
  const sequences = positive("sequences", options.globalSequences ?? own.sequences);
  switch (mode) {
    case "token-mean":
      return (maskedSum(loss, mask) / positive("tokens", options.batchTokens ?? own.tokens)) * width;
    case "seq-mean-token-mean":
      return (total(rowMeans(loss, mask, 1e-8)) / sequences) * width;
    case "seq-mean-token-sum":
      return (maskedSum(loss, mask) / sequences) * width;
    case "seq-mean-token-sum-norm":
      return maskedSum(loss, mask) / positive("scale", options.scale ?? mask[0]?.length ?? 0);
  }
}

/** The release: `token-level` Σℓm/Σm; `sequence-level` mean over all rows of Σℓm/max(Σm, 1), so empty rows pull it down. */
export function aggregateLossFork(loss: Matrix, mask: Matrix, mode: "token-level" | "sequence-level"): number {
  assertSameShape("loss, mask", loss, mask);
  if (mode === "token-level") return maskedSum(loss, mask) / positive("tokens", maskCount(mask));
  return total(rowMeans(loss, mask, 0)) / positive("rows", mask.length);
}

/**
 * The release with dynamic micro-batches: Σ_m (sequences of m / sequences) · token mean of m.
 * Differs from Eq. 6 wherever micro-batches hold unequal token counts per sequence.
 */
export function microBatchLossFork(loss: Matrix, mask: Matrix, microBatches: readonly (readonly number[])[]): number {
  const sequences = microBatches.reduce((count, rows) => count + rows.length, 0);
  let accumulated = 0;
  for (const rows of microBatches) {
    const part = aggregateLossFork(pick(loss, rows), pick(mask, rows), "token-level");
    accumulated += (rows.length / positive("sequences", sequences)) * part;
  }
  return accumulated;
}

/** The same split with global denominators (I6): equals `aggregateLoss` of the whole. */
export function microBatchLoss(
  loss: Matrix,
  mask: Matrix,
  microBatches: readonly (readonly number[])[],
  mode: LossMode,
): number {
  const denominators = denominatorsOf(mask);
  const scale = mask[0]?.length ?? 0;
  return microBatches.reduce(
    (sum, rows) => sum + aggregateLoss(pick(loss, rows), pick(mask, rows), mode, { denominators, scale }),
    0,
  );
}

/** Per row Σℓm/(Σm + ε), 0 for empty rows. */
function rowMeans(loss: Matrix, mask: Matrix, epsilon: number): number[] {
  return loss.map((row, b) => {
    const count = maskCount([at(mask, b)]);
    return count === 0 ? 0 : maskedSum([row], [at(mask, b)]) / (count + epsilon);
  });
}

function pick(matrix: Matrix, rows: readonly number[]): Matrix {
  return rows.map((row) => at(matrix, row));
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function positive(name: string, value: number): number {
  if (!(value > 0)) throw new WeirError("WEIR_E_SHAPE", `a loss denominator must be positive, got ${name} = ${value}`);
  return value;
}
