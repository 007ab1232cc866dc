/** Random training groups for the tiny configuration; everything follows from the key. */
import { uniform } from "../../src/algorithms/random.js";
import type { TrainGroup } from "../../src/contracts/trainer.js";
import { TINY_CONFIG } from "./engines.js";

/** Lengths of prompts and of their completions. */
export type GroupSizes = readonly (readonly [prompt: number, completions: readonly number[]])[];

/** One advantage per completion, log-probs between −5 and −4 nats. */
export function randomGroups(key: number, sizes: GroupSizes): TrainGroup[] {
  let counter = 0;
  const next = () => uniform(key, counter++);
  const ids = (length: number) => Array.from({ length }, () => Math.floor(next() * TINY_CONFIG.vocab_size));
  return sizes.map(([promptLength, lengths]) => ({
    promptIds: ids(promptLength),
    completions: lengths.map((length) => {
      const tokenIds = ids(length);
      const advantage = 2 * next() - 1;
      return {
        tokenIds,
        advantages: tokenIds.map(() => advantage),
        oldLogprobs: tokenIds.map(() => -4 - next()),
        refLogprobs: tokenIds.map(() => -4 - next()),
      };
    }),
  }));
}
