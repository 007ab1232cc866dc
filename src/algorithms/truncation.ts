/** Middle truncation of prompts: the head and the tail stay, so the format line at the end survives. */
import { WeirError } from "../errors.js";

/** If n > max: the first ⌊max/2⌋ and the last ⌈max/2⌉ items, else all of them (a copy). */
export function truncateMiddle<T>(items: readonly T[], max: number): T[] {
  if (!Number.isInteger(max) || max < 1) {
    throw new WeirError("WEIR_E_SHAPE", `middle truncation needs a limit of at least 1, got ${max}`);
  }
  if (items.length <= max) return items.slice();
  const head = Math.floor(max / 2);
  return [...items.slice(0, head), ...items.slice(items.length - (max - head))];
}
