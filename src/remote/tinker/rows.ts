/**
 * Sequences as the server's rows, and the scaling that makes its loss that of the batch. A row-mean server makes of token losses ℓ
 * (1/R)·Σᵢ (1/nᵢ)·Σₜ ℓᵢₜ over R rows with nᵢ counted tokens; a summing one Σᵢₜ ℓᵢₜ. Both are linear in advantages, so that with
 * advantages multiplied by weightᵢₜ·R·nᵢ, or by weightᵢₜ, they are Σᵢₜ weightᵢₜ·ℓᵢₜ: any aggregation, exactly (I6).
 */
import type { ServerLossScale } from "../../contracts/trainer.js";
import type { ServerRow } from "./messages.js";

/** A prompt and a response to it; the prompt has one token at least. */
export interface Sequence {
  readonly promptIds: readonly number[]; // [P]
  readonly tokenIds: readonly number[]; // [T]
}

/** What a gradient takes of a sequence's response. */
export interface SequenceGradient {
  readonly sequence: Sequence;
  /** Tokens that count; the others have no share in anything. */
  readonly counted: readonly boolean[]; // [T]
  /** Log-probs that the server's ratio is against. */
  readonly logprobs: ArrayLike<number>; // [T]
  /** Advantages times the weight of their token in the batch's loss. */
  readonly weighted: ArrayLike<number>; // [T]
}

/** A row to score: every token of the response has weight 1. */
export function scoredRow(sequence: Sequence): ServerRow {
  return supervisedRow(
    sequence,
    sequence.tokenIds.map(() => 1),
  );
}

/** The values of a response's tokens out of those of its row. */
export function responsePart(values: readonly number[], { promptIds, tokenIds }: Sequence): number[] {
  return values.slice(promptIds.length - 1, promptIds.length - 1 + tokenIds.length);
}

/** Rows whose loss at the server is Σ weight·ℓ(advantage), one for each sequence; null for one without a counted token. */
export function gradientRows(gradients: readonly SequenceGradient[], scale: ServerLossScale): (ServerRow | null)[] {
  const counts = gradients.map(({ counted }) => counted.filter(Boolean).length);
  const rows = counts.filter((count) => count > 0).length;
  return gradients.map(({ sequence: { promptIds, tokenIds }, counted, logprobs, weighted }, i) => {
    const count = counts[i] as number;
    if (count === 0) return null;
    const factor = scale === "sum" ? 1 : rows * count;
    const policy = {
      // A token that does not count may have any number.
      logprobs: tokenIds.map((_, t) => (counted[t] ? (logprobs[t] as number) : 0)),
      advantages: tokenIds.map((_, t) => (counted[t] ? (weighted[t] as number) * factor : 0)),
    };
    // A summing server reads no weights here: an advantage of 0 leaves a token out.
    const weights = scale === "sum" ? null : counted.map(Number);
    return rowOf(promptIds, tokenIds, weights, policy);
  });
}

/** Rows for the server's supervised loss. `weights`: of each token of the response. */
export function supervisedRow({ promptIds, tokenIds }: Sequence, weights: readonly number[]): ServerRow {
  return rowOf(promptIds, tokenIds, weights, null);
}

/** Position t of a row sees tokens ≤ t and predicts token t + 1: the first P − 1 belong to the prompt. */
function rowOf(
  promptIds: readonly number[],
  tokenIds: readonly number[],
  weights: readonly number[] | null,
  policy: { readonly logprobs: readonly number[]; readonly advantages: readonly number[] } | null,
): ServerRow {
  const ids = [...promptIds, ...tokenIds];
  const before = new Array<number>(promptIds.length - 1).fill(0);
  const whole = (values: readonly number[]) => [...before, ...values];
  return {
    tokens: ids.slice(0, -1),
    targets: ids.slice(1),
    weights: weights && whole(weights),
    policy: policy && { logprobs: whole(policy.logprobs), advantages: whole(policy.advantages) },
  };
}
