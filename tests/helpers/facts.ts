/** Data of facts for tests that need some fact and not its meaning. */
import type { Fact, FactData, FactType } from "../../src/contracts/fact.js";

export const STARTED: FactData["run.started"] = {
  seed: 7,
  model: "models/tiny",
  engine: "cpu 4.22.0, eager",
  plannedSteps: 6,
  tasks: 24,
  heldoutTasks: 0,
  sftRows: 0,
  parts: null,
};

export const COMMITTED: FactData["step.committed"] = {
  phase: 1,
  policyVersion: 1,
  sha256: "ab",
  groups: 3,
  kept: 2,
  exhausted: false,
};

export const RESUMED: FactData["run.resumed"] = { reason: "by hand", checkpoint: null, step: 0, remarks: [] };

/** Type, step and data of a fact, as a test tells it. */
export type Told = { readonly [T in FactType]: readonly [T, number, FactData[T]] }[FactType];

export const factOf = (seq: number, [type, step, data]: Told, time = 10_000 + seq): Fact =>
  ({ schema_version: 1, seq, type, step, time, data }) as Fact;
