/** The supervised losses (Eq. 11 and the release's) and the mask that says which positions are supervised. */
import { at } from "../../src/algorithms/shapes.js";
import { WeirError } from "../../src/errors.js";
import { maskedMean } from "./masked.js";
import { assertSameShape, type Matrix } from "./shapes.js";

/** Eq. 11: mean over sequences of the mean NLL of their supervised tokens. nll and mask [B, T], nats. */
export function sftSequenceMean(nll: Matrix, mask: Matrix): number {
  assertSameShape("nll, mask", nll, mask);
  const rows = nll.flatMap((row, b) => (at(mask, b).some((m) => m !== 0) ? [maskedMean([row], [at(mask, b)])] : []));
  if (rows.length === 0) throw new WeirError("WEIR_E_SHAPE", "a supervised loss needs one supervised token, got none");
  return rows.reduce((a, b) => a + b, 0) / rows.length;
}

/** The release: token mean of each micro-batch of `microBatchRows` consecutive rows, averaged over micro-batches. */
export function sftTokenMean(nll: Matrix, mask: Matrix, microBatchRows: number): number {
  assertSameShape("nll, mask", nll, mask);
  if (!Number.isInteger(microBatchRows) || microBatchRows < 1) {
    throw new WeirError("WEIR_E_SHAPE", `a micro-batch needs at least one row, got ${microBatchRows}`);
  }
  const means: number[] = [];
  for (let start = 0; start < nll.length; start += microBatchRows) {
    means.push(maskedMean(nll.slice(start, start + microBatchRows), mask.slice(start, start + microBatchRows)));
  }
  if (means.length === 0) throw new WeirError("WEIR_E_SHAPE", "a supervised loss needs one row, got none");
  return means.reduce((a, b) => a + b, 0) / means.length;
}

export interface SftMask {
  /** 1 at real tokens, 0 at right padding. */
  readonly attentionMask: number[]; // [T]
  /** 1 at positions whose *next* token is supervised: the response and its end token. */
  readonly lossMask: number[]; // [T]
  /** Positions of the supervised tokens themselves; all in [promptLength, promptLength + responseLength). */
  readonly targetPositions: number[];
}

/** Masks of a row of `promptLength` + `responseLength` (end token included) tokens, right-padded or cut to `paddedLength`. */
export function sftMask(promptLength: number, responseLength: number, paddedLength: number): SftMask {
  const end = Math.min(promptLength + responseLength, paddedLength);
  const attentionMask = Array.from({ length: paddedLength }, (_, t) => (t < end ? 1 : 0));
  const firstPredicting = Math.max(Math.min(promptLength, paddedLength) - 1, 0);
  const lossMask = attentionMask.map((m, t) => (m === 1 && t >= firstPredicting && t < end - 1 ? 1 : 0));
  const targetPositions = lossMask.flatMap((m, t) => (m === 1 ? [t + 1] : []));
  return { attentionMask, lossMask, targetPositions };
}
