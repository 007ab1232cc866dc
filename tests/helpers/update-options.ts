import { createFiniteGuard } from "../../src/actors/guard/guard.js";
import type { UpdateOptions } from "../../src/actors/update/update.js";
import { fakeVersion } from "../../src/testing.js";
import { TEST_LOSS, TEST_OPTIMISER } from "./engines.js";

/** One optimiser step on samples of version 1, without correction. */
export const PLAIN_UPDATE: UpdateOptions = {
  step: 1,
  phase: 1,
  policy: fakeVersion(1),
  maxLag: 0,
  correction: null,
  guard: createFiniteGuard(),
  comparable: true,
  loss: TEST_LOSS,
  optimiser: TEST_OPTIMISER,
  miniBatchPrompts: null,
  epochs: 1,
  microBatchTokens: 1024,
  oldLogprobs: "recompute",
  referenceShare: 0,
  klShare: 0,
  trial: false,
  now: () => 0,
  known: { groups: [], phases: [], values: {}, contributions: [] },
};
