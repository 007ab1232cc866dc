/** Random token ids: prompts and rows without structure, equal in every run. */
import { below, counterKey } from "../../algorithms/random.js";

/** `count` ids in [0, vocabulary); the parts name the purpose, so that each step and row gets different ids. */
export function randomIds(vocabulary: number, count: number, purpose: string, ...parts: readonly number[]): number[] {
  const key = counterKey(1, purpose, ...parts);
  return Array.from({ length: count }, (_, i) => below(vocabulary, key, i));
}
