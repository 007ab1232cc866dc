/** Weight of each token of supervised rows in the batch's loss. */
import type { SftBatch } from "../contracts/trainer.js";

/** Eq. 11 (`seq-mean`): mask / (rows · Σ mask of the row); `token-mean`: mask / Σ mask. Token 0 has no prediction. [N][T] */
export function sftWeights(batch: SftBatch): number[][] {
  const masks = batch.rows.map(({ lossMask }) => lossMask.map((value, token) => (token === 0 ? 0 : value)));
  const totals = masks.map((mask) => mask.reduce((sum, value) => sum + value, 0));
  const rows = totals.filter((total) => total > 0).length;
  const all = totals.reduce((sum, total) => sum + total, 0);
  return masks.map((mask, row) => {
    const denominator = batch.aggregation === "seq-mean" ? rows * (totals[row] as number) : all;
    return mask.map((value) => (value === 0 ? 0 : value / denominator));
  });
}
