/** Alarms of a run that learns nothing, and the whole detector's snapshot. */
import { describe, expect, it } from "vitest";
import type { Group } from "../../src/contracts/group.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { createDetector } from "../../src/streams/telemetry/detector.js";
import { createSpikeDetector } from "../../src/streams/telemetry/spike-detector.js";
import { createStallDetector, idleCauseOf, type StallObservation } from "../../src/streams/telemetry/stall-detector.js";
import { exampleRollout, exampleTask, scored } from "../../src/testing.js";

const OPTIONS = { noUpdateSteps: 3, equalRewardSteps: 2, unscoredShare: 0.5 };
const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" };

function group(outcomes: readonly (number | RewardOutcome)[], source = "musique"): Group {
  const task = exampleTask({ source });
  const members = outcomes.map((given) => {
    const outcome = typeof given === "number" ? scored(given) : given;
    return { rollout: exampleRollout(task, "x"), outcome, reward: outcome.kind === "scored" ? outcome.value : null };
  });
  return { id: "g", task, phase: 1, visit: 0, carried: false, sequence: 0, members };
}

const observation = (step: number, groups: readonly Group[], rest: Partial<StallObservation> = {}) => ({
  step,
  phase: 1,
  policyVersion: 0,
  time: 0,
  groups,
  idleSteps: 0,
  idleCause: null,
  correctAt: 1,
  ...rest,
});

describe("a run that learns nothing", () => {
  it("is raised after the configured number of steps without an update, with cause and remedy", () => {
    const detector = createStallDetector(OPTIONS);
    const mixed = [group([0, 1])];
    const at = (step: number) =>
      detector.observe(observation(step, mixed, { idleSteps: step, idleCause: "non_finite" }));
    expect([at(1), at(2)]).toEqual([[], []]);
    expect(at(3)).toMatchObject([
      { id: "3-no_update-update/idle_steps", level: "error", rule: "no_update", value: 3, threshold: 3 },
    ]);
    expect(at(4)[0]?.text).toMatch(/4 consecutive RL steps: .*not finite.*lower optimiser\.learningRate/);
    expect(detector.observe(observation(5, mixed))).toEqual([]);
  });

  it("is raised when every reward is the same for some steps, wrong or right", () => {
    const wrong = createStallDetector(OPTIONS);
    expect(wrong.observe(observation(1, [group([0, 0]), group([0])]))).toEqual([]);
    expect(wrong.observe(observation(2, [group([0, 0])]))).toMatchObject([
      { rule: "equal_rewards", level: "warn", text: expect.stringMatching(/reward 0: no response stands out/) },
    ]);
    const right = createStallDetector(OPTIONS);
    right.observe(observation(1, [group([0.8, 0.8])], { correctAt: 0.5 }));
    const [alert] = right.observe(observation(2, [group([0.8])], { correctAt: 0.5 }));
    expect(alert?.text).toMatch(/reward 0\.8: all are correct/);
  });

  it("restarts the count of equal rewards at another reward, and keeps it over a step without a score", () => {
    const detector = createStallDetector(OPTIONS);
    const rules = (step: number, ...outcomes: (number | RewardOutcome)[]) =>
      detector.observe(observation(step, [group(outcomes)])).map(({ rule }) => rule);
    expect(rules(1, 1, 1)).toEqual([]);
    expect(rules(2, 0, 0)).toEqual([]);
    expect(rules(3, failed, failed)).toEqual(["unscored"]);
    expect(rules(4, 0, 0)).toEqual(["equal_rewards"]);
    expect(rules(5, 0, 1)).toEqual([]);
    expect(rules(6, 1, 1)).toEqual([]);
  });

  it("is told when half of a step's responses could not be scored, with outcomes and data sources", () => {
    const detector = createStallDetector(OPTIONS);
    const half = [group([0, 1]), group([failed, failed], "triviaqa")];
    const [alert] = detector.observe(observation(1, half));
    expect(alert).toMatchObject({ rule: "unscored", metric: "reward/scored_share", value: 0.5, threshold: 0.5 });
    expect(alert?.text).toMatch(/2 of 4 responses \(50 %\).*failed with WEIR_E_JUDGE 2.*triviaqa 2/);
    expect(detector.observe(observation(2, [group([0, 1, 1]), group([failed, 0], "triviaqa")]))).toEqual([]);
  });
});

describe("the cause of a step without an update", () => {
  const step = { dropped: [], kept: [], refused: 0, skipped: 0, rejected: false, learningRate: 1e-3 } as const;
  it("is what became of most groups, or of the optimiser steps", () => {
    expect(idleCauseOf({ ...step, dropped: ["zero_variance", "zero_variance", "group_too_small"] })).toBe(
      "equal_rewards",
    );
    expect(idleCauseOf({ ...step, dropped: ["group_too_small", "group_too_small", "zero_variance"] })).toBe("unscored");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], refused: 1 })).toBe("non_finite");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], skipped: 1 })).toBe("guard");
    expect(idleCauseOf({ ...step, kept: [{ group: group([1, 1]) }] })).toBe("equal_rewards");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], rejected: true })).toBe("rejected");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }] })).toBe("no_gradient");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], learningRate: 0 })).toBe("zero_rate");
  });
});

describe("the detector of a run", () => {
  const spikes = { window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 };
  const options = { spikes, guard: { ...OPTIONS, repeatSteps: 50 } };
  const collapsed = (step: number) => ({
    ...observation(step, [group([0, 0])]),
    values: { "entropy/mean": 0.001 },
    contributions: [],
  });

  it("raises a collapse and equal rewards of 400 steps four times each", () => {
    const detector = createDetector(options);
    const counts: Record<string, number> = {};
    for (let step = 1; step <= 400; step++)
      for (const { rule } of detector.observe(collapsed(step))) counts[rule] = (counts[rule] ?? 0) + 1;
    expect(counts).toEqual({ entropy_collapse: 4, equal_rewards: 4 });
  });

  it("continues identically from its snapshot", () => {
    const whole = createDetector(options);
    for (let step = 1; step <= 30; step++) whole.observe(collapsed(step));
    const resumed = createDetector(options);
    resumed.restore(JSON.parse(JSON.stringify(whole.snapshot())));
    for (let step = 31; step <= 60; step++)
      expect(resumed.observe(collapsed(step))).toEqual(whole.observe(collapsed(step)));
    expect(resumed.snapshot()).toEqual(whole.snapshot());
  });

  it("takes the snapshot of a checkpoint that knew spikes alone", () => {
    const old = createSpikeDetector(spikes);
    for (let step = 1; step <= 10; step++) old.observe({ ...collapsed(step), values: { "kl/old_k3": 0.01 } });
    const detector = createDetector(options);
    detector.restore(JSON.parse(JSON.stringify(old.snapshot())));
    const spike = { ...observation(11, [group([0, 1])]), values: { "kl/old_k3": 0.2 }, contributions: [] };
    expect(detector.observe(spike).map(({ rule }) => rule)).toEqual(["kl_spike"]);
    expect(() => detector.restore({ version: 3 })).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
  });
});
