import { describe, expect, it } from "vitest";
import {
  contributionsOfTokens,
  createSpikeDetector,
  type SpikeDetector,
  type SpikeObservation,
} from "../../src/streams/telemetry/spike-detector.js";

const options = { window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 };

/** KL 0.010, 0.011, 0.012, 0.013, 0.014 in turn: median 0.012, MAD 0.001 after ten steps. */
const calm = (step: number) => 0.01 + 0.001 * (step % 5);

function observation(step: number, values: Record<string, number>, rest: Partial<SpikeObservation> = {}) {
  return { step, phase: 1, policyVersion: step, time: 0, values, contributions: [], ...rest };
}

function warmUp(detector: SpikeDetector, steps = 10): void {
  for (let step = 0; step < steps; step++) {
    const values = { "kl/old_k3": calm(step), "entropy/mean": 0.5 };
    expect(detector.observe(observation(step, values))).toEqual([]);
  }
}

const rules = (detector: SpikeDetector, seen: SpikeObservation) => detector.observe(seen).map(({ rule }) => rule);

describe("spike detection", () => {
  it("raises kl_spike at a robust z-score of 6, with the number", () => {
    const detector = createSpikeDetector(options);
    warmUp(detector);
    const [alert, ...rest] = detector.observe(observation(10, { "kl/old_k3": 0.03, "entropy/mean": 0.5 }));
    expect(rest).toEqual([]);
    expect(alert).toMatchObject({
      id: "10-kl_spike-kl/old_k3",
      level: "warn",
      rule: "kl_spike",
      metric: "kl/old_k3",
      value: 0.03,
      threshold: 6,
      step: 10,
      phase: 1,
      policyVersion: 10,
    });
    // (0.03 − 0.012) / (1.4826 · 0.001)
    expect(alert?.z).toBeCloseTo(12.14, 2);
    expect(alert?.text).toContain("robust z-score 12.1");
  });

  it("raises kl_spike for a jump of the KL to the reference, never for its level", () => {
    const detector = createSpikeDetector(options);
    for (let step = 0; step < 10; step++) {
      expect(detector.observe(observation(step, { "kl/ref": 0.9 + 0.02 * (step % 3) }))).toEqual([]);
    }
    const contributions = [
      { rolloutId: "a", contribution: 1, tokenIndex: 3, metric: "kl/ref" as const },
      { rolloutId: "b", contribution: 9, tokenIndex: 4, metric: "kl/ref" as const },
      { rolloutId: "c", contribution: 99, tokenIndex: 5, metric: "entropy/mean" as const },
    ];
    const [alert] = detector.observe(observation(10, { "kl/ref": 3 }, { contributions }));
    expect(alert).toMatchObject({ rule: "kl_spike", metric: "kl/ref", level: "warn", value: 3 });
    expect(alert?.culprits.map(({ rolloutId }) => rolloutId)).toEqual(["b", "a"]);
  });

  it("stays quiet just below the limit, and for KL that falls", () => {
    const detector = createSpikeDetector(options);
    warmUp(detector);
    expect(rules(detector, observation(10, { "kl/old_k3": 0.0208 }))).toEqual([]);
    expect(rules(detector, observation(11, { "kl/old_k3": 0 }))).toEqual([]);
  });

  it("takes no z-score of a short history, but keeps the absolute limits", () => {
    const detector = createSpikeDetector(options);
    warmUp(detector, 7);
    expect(rules(detector, observation(7, { "kl/old_k3": 0.4 }))).toEqual([]);
    expect(detector.observe(observation(8, { "kl/old_k3": 0.5 }))).toMatchObject([
      { rule: "kl_limit", level: "error", threshold: 0.5, value: 0.5 },
    ]);
  });

  it("starts a new history with each phase, since a phase changes the level", () => {
    const detector = createSpikeDetector(options);
    warmUp(detector);
    expect(rules(detector, observation(10, { "kl/old_k3": 0.2 }, { phase: 2 }))).toEqual([]);
    expect(rules(detector, observation(11, { "kl/old_k3": 0.01 }, { phase: 1 }))).toEqual([]);
  });

  it("does not take noise around a constant history for a spike", () => {
    const detector = createSpikeDetector(options);
    for (let step = 0; step < 10; step++) detector.observe(observation(step, { "entropy/mean": 0.5 }));
    // Scale floor 0.01: 0.55 is 5 deviations, 0.57 is 7.
    expect(rules(detector, observation(10, { "entropy/mean": 0.55 }))).toEqual([]);
    expect(rules(detector, observation(11, { "entropy/mean": 0.57 }))).toEqual(["entropy_spike"]);
    expect(rules(detector, observation(12, { "entropy/mean": 0.43 }))).toEqual(["entropy_spike"]);
  });

  it("reports collapse, divergence, mismatch and non-finite values at once", () => {
    const detector = createSpikeDetector(options);
    expect(rules(detector, observation(0, { "entropy/mean": 0.009 }))).toEqual(["entropy_collapse"]);
    expect(rules(detector, observation(1, { "entropy/mean": 6.1 }))).toEqual(["entropy_divergence"]);
    expect(rules(detector, observation(2, { mismatch_abs: 0.011 }))).toEqual(["mismatch"]);
    expect(rules(detector, observation(3, { mismatch_abs: 0.01, "kl/old_k3": 0.1, "entropy/mean": 0.5 }))).toEqual([]);
    const values = { "loss/total": Number.NaN, "gradient/norm": Number.POSITIVE_INFINITY, "kl/old_k3": 0.6 };
    expect(detector.observe(observation(4, values)).map(({ rule, metric }) => [rule, metric])).toEqual([
      ["non_finite", "loss/total"],
      ["non_finite", "gradient/norm"],
      ["kl_limit", "kl/old_k3"],
    ]);
  });

  it("keeps non-finite values out of its history", () => {
    const detector = createSpikeDetector(options);
    warmUp(detector);
    detector.observe(observation(10, { "kl/old_k3": Number.NaN }));
    const [alert] = detector.observe(observation(11, { "kl/old_k3": 0.03 }));
    expect(alert?.z).toBeCloseTo(12.14, 2);
  });

  it("names the five rollouts that contributed most to the metric, with their hottest token", () => {
    const detector = createSpikeDetector(options);
    const perToken = (rolloutId: string, values: number[]) => ({ rolloutId, perToken: values });
    const contributions = [
      ...contributionsOfTokens("kl/old_k3", [
        perToken("a", [0, 3, 1]),
        perToken("b", [9]),
        perToken("c", [1, 1]),
        perToken("d", [0, 0, 0, 7]),
        perToken("e", [0.5]),
        perToken("f", [0.25]),
        perToken("none", []),
      ]),
      { rolloutId: "other", contribution: 99, tokenIndex: 0, metric: "entropy/mean" as const },
    ];
    const [alert] = detector.observe(observation(0, { "kl/old_k3": 1 }, { contributions }));
    expect(alert?.culprits).toEqual([
      { rolloutId: "b", contribution: 9, tokenIndex: 0 },
      { rolloutId: "d", contribution: 7, tokenIndex: 3 },
      { rolloutId: "a", contribution: 4, tokenIndex: 1 },
      { rolloutId: "c", contribution: 2, tokenIndex: 0 },
      { rolloutId: "e", contribution: 0.5, tokenIndex: 0 },
    ]);
  });

  it("names the least entropy for a collapse, and a contribution that is no number first", () => {
    const detector = createSpikeDetector(options);
    const contributions = [
      { rolloutId: "high", contribution: 2, tokenIndex: 0 },
      { rolloutId: "low", contribution: 0.001, tokenIndex: 4 },
    ];
    const [collapse] = detector.observe(observation(0, { "entropy/mean": 0.001 }, { contributions }));
    expect(collapse?.culprits.map(({ rolloutId }) => rolloutId)).toEqual(["low", "high"]);
    const broken = [...contributions, { rolloutId: "nan", contribution: Number.NaN, tokenIndex: 1 }];
    const [nan] = detector.observe(observation(1, { "loss/total": Number.NaN }, { contributions: broken }));
    expect(nan?.culprits[0]?.rolloutId).toBe("nan");
  });

  it("continues identically from its snapshot, and refuses a damaged one", () => {
    const whole = createSpikeDetector(options);
    warmUp(whole);
    const resumed = createSpikeDetector(options);
    resumed.restore(JSON.parse(JSON.stringify(whole.snapshot())));
    const spike = observation(10, { "kl/old_k3": 0.03, "entropy/mean": 0.9 });
    expect(resumed.observe(spike)).toEqual(whole.observe(spike));
    expect(resumed.snapshot()).toEqual(whole.snapshot());
    expect(() => resumed.restore({})).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
  });

  it("judges against the last steps only", () => {
    const detector = createSpikeDetector({ ...options, window: 8 });
    warmUp(detector, 10);
    for (let step = 10; step < 18; step++) detector.observe(observation(step, { "kl/old_k3": 0.2 + calm(step) }));
    expect(rules(detector, observation(18, { "kl/old_k3": 0.212 }))).toEqual([]);
  });
});
