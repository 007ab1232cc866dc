/** The alarms of a run: detectors, histories and open alarms together. */
import { describe, expect, it } from "vitest";
import type { MetricValues } from "../../src/contracts/metrics.js";
import { createDetector, type Observation } from "../../src/streams/telemetry/detector.js";

const OPTIONS = {
  detection: {
    ...{ window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 },
    ...{ truncatedShare: 1.02, staleShare: 0.5, advantageLimit: 20, judgeFailureShare: 0.1, judgeSeconds: 15 },
  },
  stalls: { noUpdateSteps: 3, equalRewardSteps: 2, unscoredShare: 0.5 },
  updateSteps: 10,
};

const seen = (step: number, values: MetricValues, rest: Partial<Observation> = {}): Observation => ({
  ...{ step, phase: 1, policyVersion: step, time: 0, values, contributions: [], nonFinite: [], objections: [] },
  ...{ groups: [], idleSteps: 0, idleCause: null, correctAt: 1 },
  ...rest,
});

const steady = (step: number) => seen(step, { "entropy/mean": 0.5 + 0.02 * (step % 5) });

function warmedUp(steps = 10) {
  const detector = createDetector(OPTIONS);
  for (let step = 1; step <= steps; step++) detector.observe(steady(step));
  return detector;
}

describe("the detector of a run", () => {
  it("raises an alarm once, with its culprits, and ends it", () => {
    const detector = warmedUp();
    const contributions = [
      { rolloutId: "a", contribution: 1, tokenIndex: 3, metric: "entropy/mean" as const },
      { rolloutId: "b", contribution: 9, tokenIndex: 4, metric: "entropy/mean" as const },
    ];
    const { raised } = detector.observe(seen(11, { "entropy/mean": 1.02 }, { contributions }));
    expect(raised).toMatchObject([
      { id: "11-entropy_spike-entropy/mean", step: 11, phase: 1, policyVersion: 11, level: "warn" },
    ]);
    expect(raised[0]?.culprits.map(({ rolloutId }) => rolloutId)).toEqual(["b", "a"]);
    expect(detector.observe(steady(12))).toEqual({
      raised: [],
      updated: [],
      ended: [
        {
          ...{ id: "11-entropy_spike-entropy/mean", rule: "entropy_spike", metric: "entropy/mean" },
          ...{ fromStep: 11, toStep: 11, worst: 1.02 },
        },
      ],
    });
  });

  it("tells numbers of optimiser steps that were not finite, and what the guard objected to", () => {
    const objections = [
      { action: "skip", reason: "too steep", rule: "gradient_spike", metric: "gradient/norm", value: 99 } as const,
      { action: "skip", reason: "a guard without rules" } as const,
    ];
    const { raised } = createDetector(OPTIONS).observe(seen(1, {}, { nonFinite: ["gradNorm"], objections }));
    expect(raised.map(({ rule, metric, value, text }) => ({ rule, metric, value, text }))).toEqual([
      {
        ...{ rule: "non_finite", metric: "gradient/norm", value: Number.NaN },
        text: "gradNorm of an optimiser step is not finite",
      },
      {
        ...{ rule: "gradient_spike", metric: "gradient/norm", value: 99 },
        text: "the guard's verdict was skip: too steep",
      },
    ]);
  });

  it("tells a finding once where the guard objected to the same", () => {
    const objections = [{ action: "skip", reason: "far", rule: "kl_limit", metric: "kl/update", value: 0.7 } as const];
    const { raised } = createDetector(OPTIONS).observe(seen(1, { "kl/update": 0.7 }, { objections }));
    expect(raised.map(({ rule, threshold }) => `${rule} ${threshold}`)).toEqual(["kl_limit 0.5"]);
  });

  it("raises alarms of a step that was thrown away, and learns nothing from it", () => {
    const detector = warmedUp();
    for (let i = 0; i < 20; i++) detector.reject(seen(11, { "entropy/mean": 1.02 }));
    const [alarm] = detector.observe(seen(11, { "entropy/mean": 1.02 })).raised;
    expect(alarm).toBeUndefined();
    detector.observe(steady(12));
    expect(detector.reject(seen(12, { "entropy/mean": 1.02 })).raised).toHaveLength(1);
  });

  it("goes back to a snapshot's history and keeps open alarms", () => {
    const detector = warmedUp();
    const good = JSON.parse(JSON.stringify(detector.snapshot()));
    for (let step = 11; step <= 40; step++) detector.observe(seen(step, { "entropy/mean": 0.004 }));
    detector.rewind(good);
    // Judged against the ten steps of the snapshot: with those that were undone 1.02 would be a blow-up.
    const { raised, ended } = detector.observe(seen(11, { "entropy/mean": 1.02 }));
    expect(raised.map(({ rule }) => rule)).toEqual(["entropy_spike"]);
    expect(ended).toEqual([]);
    const over = Array.from({ length: 6 }, (_, i) => detector.observe(steady(12 + i)).ended.map(({ rule }) => rule));
    expect(over.flat()).toEqual(["entropy_spike", "entropy_collapse"]);
  });

  it("continues identically from its snapshot", () => {
    const whole = warmedUp(30);
    whole.observe(seen(31, { "entropy/mean": 0.004 }));
    const resumed = createDetector(OPTIONS);
    resumed.restore(JSON.parse(JSON.stringify(whole.snapshot())));
    for (let step = 32; step <= 60; step++) {
      const next = seen(step, { "entropy/mean": step % 7 === 0 ? 1.02 : 0.5 });
      expect(resumed.observe(next)).toEqual(whole.observe(next));
    }
    expect(resumed.snapshot()).toEqual(whole.snapshot());
  });

  it("takes the snapshots of earlier builds: levels alone, or with stalls", () => {
    const levels = { version: 1, phase: 1, history: [["entropy/mean", Array(10).fill(0.5)]] };
    for (const old of [levels, { version: 2, spikes: levels, stall: { equalSteps: 0, equalReward: null }, gate: [] }]) {
      const detector = createDetector(OPTIONS);
      detector.restore(JSON.parse(JSON.stringify(old)));
      expect(detector.observe(seen(11, { "entropy/mean": 0.95 })).raised.map(({ rule }) => rule)).toEqual([
        "entropy_spike",
      ]);
    }
    expect(() => createDetector(OPTIONS).restore({ version: 4 })).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
  });
});
