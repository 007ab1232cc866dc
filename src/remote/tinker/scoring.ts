/** Log-probs of sequences by a forward pass at the server. */
import { WeirError } from "../../errors.js";
import { responsePart, type Sequence, scoredRow } from "./rows.js";
import type { ServerModel } from "./server-model.js";

/** Log-probs of the sequences' responses. [N][T] */
export async function forward(
  model: ServerModel,
  sequences: readonly Sequence[],
  signal: AbortSignal,
): Promise<(readonly number[])[]> {
  const full = sequences.filter(({ tokenIds }) => tokenIds.length > 0);
  const rows = await model.forward(full.map(scoredRow), signal);
  let at = 0;
  return sequences.map((sequence) => {
    if (sequence.tokenIds.length === 0) return [];
    const row = rows[at++] as readonly number[];
    const own = responsePart(row, sequence);
    if (own.length === sequence.tokenIds.length) return own;
    throw new WeirError(
      "WEIR_E_REMOTE",
      `the server gave ${row.length} log-probs of a row of ${sequence.promptIds.length + sequence.tokenIds.length - 1} targets`,
    );
  });
}
