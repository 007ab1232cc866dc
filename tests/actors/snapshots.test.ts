import { describe, expect, it } from "vitest";
import { cameFurther, freshProgress, type Progress, type SnapshotMark } from "../../src/actors/run/progress.js";
import { assertReachable } from "../../src/actors/run/rollback.js";
import { snapshotDue, snapshotInterval, snapshotRoom, stateBytes } from "../../src/actors/run/snapshots.js";
import { parseConfig } from "../../src/config/load.js";
import type { ModelInfo } from "../../src/contracts/model-info.js";
import type { Trainer, TrainerCapabilities } from "../../src/contracts/trainer.js";

const mark = (stage: SnapshotMark["stage"], warmupStep: number, step: number): SnapshotMark => ({
  ...{ name: `${stage}-${step}`, stage, warmupStep, step },
});
const at = (over: Partial<Progress>): Progress => ({ ...freshProgress, ...over });
const model = (parameters: number, trainedParameters = parameters) => trainer({ parameters, trainedParameters }, {});
/** A trainer that keeps adapters, or whole models, elsewhere. */
const served = (parameters: number, trainedParameters = parameters) =>
  trainer(
    { parameters, trainedParameters },
    { savesState: "address", trains: trainedParameters < parameters ? "adapter" : "full" },
  );
const trainer = (given: Partial<ModelInfo>, capabilities: Partial<TrainerCapabilities>) =>
  ({ model: given, capabilities }) as unknown as Pick<Trainer, "model" | "capabilities">;
const BENCH = { promptsPerStep: 8, maxTokens: 44 };
const config = (everySteps: number | null, rollout = BENCH) =>
  parseConfig({
    model: { path: "no/such/model" },
    data: { train: ["no/such/file"] },
    phases: [{ maxTokens: 302, steps: 1 }],
    rollout,
    guard: { snapshots: { everySteps } },
  });

describe("snapshots of a run", () => {
  it("are taken each step of a small model, and more rarely where saving takes long beside a step", () => {
    expect(stateBytes(model(20_800_000))).toBe(249_600_000);
    expect(snapshotInterval(config(null), model(1_000_000))).toBe(1);
    // 8 · (302 + 8 · 44) = 5,232 tokens of 17 M parameters are estimated at 1.52 s, 204 MB at 0.34 s.
    expect(snapshotInterval(config(null, BENCH), model(17_000_000))).toBe(8);
    // Both grow with the model.
    expect(snapshotInterval(config(null, BENCH), model(135_000_000))).toBe(8);
    // Adapters have few moments.
    expect(snapshotInterval(config(null, BENCH), model(135_000_000, 1_000_000))).toBe(3);
    // A step over long documents takes longer than any snapshot.
    expect(snapshotInterval(config(null, { promptsPerStep: 128, maxTokens: 10_000 }), model(135_000_000))).toBe(1);
    expect(snapshotInterval(config(7), model(1))).toBe(7);
  });

  it("that a server keeps take no room here, and are as frequent as what the server saves allows", () => {
    expect(stateBytes(served(14e9, 60e6))).toBe(4_096);
    expect(snapshotRoom(config(null), served(14e9, 60e6))).toBe((2 * config(null).guard.snapshots.keep + 1) * 4_096);
    // Weights and moments of an adapter: 12 · 1 M bytes, under 16 MiB.
    expect(snapshotInterval(config(null), served(135_000_000, 1_000_000))).toBe(1);
    // A step of 135 M parameters takes 12.1 s; a second of the server's and 0.05 s for 29 MB, 1.2 s for 720 MB, 2.7 s for 1,620 MB.
    expect(snapshotInterval(config(null), served(135_000_000, 2_400_000))).toBe(3);
    expect(snapshotInterval(config(null), served(135_000_000, 60_000_000))).toBe(7);
    expect(snapshotInterval(config(null), served(135_000_000))).toBe(11);
  });

  it("are due at the first step of a stage, and after as many steps as that", () => {
    expect(snapshotDue(at({}), "warmup", 3)).toBe(true);
    const warm = [mark("warmup", 0, 0)];
    expect(snapshotDue(at({ warmupStep: 2, snapshots: warm }), "warmup", 3)).toBe(false);
    expect(snapshotDue(at({ warmupStep: 3, snapshots: warm }), "warmup", 3)).toBe(true);
    expect(snapshotDue(at({ warmupStep: 1, snapshots: warm }), "rl", 3)).toBe(true);
    expect(snapshotDue(at({ step: 2, snapshots: [mark("rl", 0, 0)] }), "rl", 3)).toBe(false);
  });

  it("can be gone back to by hand where one is old enough", () => {
    const progress = at({ step: 5, snapshots: [mark("rl", 0, 3), mark("rl", 0, 4)] });
    expect(() => assertReachable(progress, null)).not.toThrow();
    expect(() => assertReachable(progress, 3)).not.toThrow();
    expect(() => assertReachable(progress, 2)).toThrow(
      /WEIR_E_STATE: there is no snapshot to go back to at or before RL step 2; .*the steps 3, 4; guard\.snapshots\.keep/,
    );
    expect(() => assertReachable(at({}), null)).toThrow(/none has been taken yet/);
    // A run that has just gone back stands at its newest snapshot.
    expect(() => assertReachable(at({ step: 3, snapshots: [mark("rl", 0, 3)] }), null)).toThrow(/WEIR_E_STATE/);
  });
});

describe("rollbacks in a row", () => {
  it("end once a step is done that was not done before them", () => {
    const rollbacks = { count: 4, inARow: 2, furthest: 7, turnedDown: {} };
    expect(cameFurther(at({ warmupStep: 2, step: 5, rollbacks })).rollbacks).toEqual(rollbacks);
    expect(cameFurther(at({ warmupStep: 2, step: 6, rollbacks })).rollbacks).toEqual({ ...rollbacks, inARow: 0 });
  });
});
