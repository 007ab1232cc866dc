import { mkdir, writeFile } from "node:fs/promises";
import type { SavedBatch } from "../../src/store/saved-batch.js";
import { TEST_LOSS, TEST_OPTIMISER } from "./engines.js";

/** A mini-batch of one response whose advantage is not a number. */
export function savedBatch(over: Partial<SavedBatch> = {}): SavedBatch {
  return {
    ...{ step: 3, phase: 1, policyVersion: 2, miniBatch: 0, cause: "non_finite", reason: "not finite: loss" },
    ...{ loss: null, gradNorm: null, optimiser: TEST_OPTIMISER },
    batch: {
      groups: [
        {
          promptIds: [5, 6],
          completions: [
            {
              tokenIds: [7, 8],
              advantages: [Number.NaN, 0.1 + 0.2],
              oldLogprobs: null,
              refLogprobs: null,
              weights: null,
            },
          ],
        },
      ],
      loss: TEST_LOSS,
      denominators: { tokens: 2, sequences: 1 },
      microBatchTokens: 64,
      oldPolicy: { n: 2, sha256: "ab" },
    },
    groups: [
      { groupId: "s3-q1", taskId: "t1", rollouts: [{ id: "s3-q1-g0", text: "\u0000NaN?", reward: Number.NaN }] },
    ],
    ...over,
  };
}

/** Room for the state of one batch of ten bytes. */
export const ROOM_FOR_ONE = {
  bytes: 10,
  budgetBytes: 15,
  writeInto: async (folder: string) => {
    await mkdir(folder, { recursive: true });
    await writeFile(`${folder}/weights`, "0123456789");
  },
};
