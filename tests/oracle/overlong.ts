/** Overlong shaping of a whole group: reference of the tests. */
import { type OverlongOptions, overlongPenalty } from "../../src/algorithms/overlong.js";
import { WeirError } from "../../src/errors.js";

/** r_final of Eq. 7 for a group: rewards [G] and lengths [G]. */
export function shapedRewards(
  rewards: readonly number[],
  lengths: readonly number[],
  options: OverlongOptions,
): number[] {
  if (rewards.length !== lengths.length) {
    throw new WeirError("WEIR_E_SHAPE", `expected one length per reward, got ${lengths.length} for ${rewards.length}`);
  }
  return rewards.map((reward, index) => reward + overlongPenalty(lengths[index] as number, options));
}
