/** Metrics that parts add: means per step, in any order of values, under bounded names. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Group } from "../../src/contracts/group.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import type { WeirError } from "../../src/errors.js";
import { assertMetrics, isMetricName } from "../../src/streams/telemetry/metrics.js";
import { PublishedMetrics } from "../../src/streams/telemetry/published-metrics.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";

function collect() {
  const warnings: WeirError[] = [];
  return { warnings, metrics: new PublishedMetrics((error) => warnings.push(error)) };
}

function groupOf(...outcomes: RewardOutcome[]): Group {
  const task = exampleTask();
  const members = outcomes.map((outcome) => ({ rollout: exampleRollout(task, "x"), outcome, reward: null }));
  return { id: "g", task, phase: 1, visit: 0, carried: false, sequence: 0, members };
}

const scored = (parts: Record<string, number>): RewardOutcome => ({
  kind: "scored",
  value: 1,
  parts,
  prediction: null,
});

describe("published metrics", () => {
  it("are the means of a step, and start anew with each", () => {
    const { metrics } = collect();
    for (const value of [1, 2, 6]) metrics.publish("answer/characters", value);
    metrics.publish("tools", 4);
    expect(metrics.ofStep([])).toEqual({ "custom/answer/characters": 3, "custom/tools": 4 });
    metrics.publish("tools", 9);
    metrics.reset();
    expect(metrics.ofStep([])).toEqual({});
  });

  it("hold the mean of each reward part over the scored rollouts that have it (I1)", () => {
    const { metrics } = collect();
    const groups = [
      groupOf(scored({ rule: 1 }), scored({ rule: 0, judge: 1 }), { kind: "failed", code: "E", reason: "r" }),
      groupOf(scored({ rule: 0, judge: 0 }), { kind: "abstained", reason: "r" }, scored({ rule: 0 })),
    ];
    expect(metrics.ofStep(groups)).toEqual({ "reward/parts/rule": 0.25, "reward/parts/judge": 0.5 });
  });

  it("do not depend on the order in which values came (I11)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }), { minLength: 1 }),
        (values) => {
          const [there, back] = [collect().metrics, collect().metrics];
          for (const value of values) there.publish("x", value);
          for (const value of [...values].reverse()) back.publish("x", value);
          expect(there.ofStep([])).toEqual(back.ofStep([]));
        },
      ),
    );
  });

  it("refuse a name or a value that is none, with WEIR_E_PART", () => {
    const { metrics } = collect();
    for (const name of ["", "two words", "a//b", "/a", "ü", "a/b/c/d/e", "x".repeat(65), "<b>"])
      expect(() => metrics.publish(name, 1), name).toThrow(/WEIR_E_PART: publish\(\) was given the name/);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "1" as never, undefined as never])
      expect(() => metrics.publish("a", value)).toThrow(/WEIR_E_PART: publish\("a"\) was given .*finite/);
    expect(metrics.ofStep([])).toEqual({});
  });

  it("stop at 64 names, say so once for each further one, and go on with those they have", () => {
    const { metrics, warnings } = collect();
    for (let i = 0; i < 70; i++) metrics.publish(`n${i}`, i);
    for (let i = 0; i < 70; i++) metrics.publish(`n${i}`, i);
    const values = metrics.ofStep([groupOf(scored({ late: 1 }))]);
    expect(Object.keys(values)).toHaveLength(64);
    expect(values["custom/n63"]).toBe(63);
    expect(warnings).toHaveLength(7);
    expect(warnings[0]?.message).toMatch(/^WEIR_E_PART: the metric "custom\/n64" is left out: a run takes 64 names/);
    expect(warnings[6]?.message).toContain('"reward/parts/late"');
    metrics.publish("n0", 5);
    expect(metrics.ofStep([])).toEqual({ "custom/n0": 5 });
  });

  it("leave out a reward part whose name is none, and say so", () => {
    const { metrics, warnings } = collect();
    expect(metrics.ofStep([groupOf(scored({ "two words": 1, fine: 0.5 }))])).toEqual({ "reward/parts/fine": 0.5 });
    expect(warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining('"reward/parts/two words" is left out'),
    ]);
  });

  it("are registered names, others under the same prefixes are not", () => {
    for (const name of ["custom/a", "custom/a/b-c.d_e", "reward/parts/rule"])
      expect(isMetricName(name), name).toBe(true);
    for (const name of ["custom/", "custom/<name>", "custom/a b", "reward/parts/<name>", "customs/a"])
      expect(isMetricName(name), name).toBe(false);
    expect(() => assertMetrics({ "custom/a": Number.NaN })).toThrow(/WEIR_E_NON_FINITE/);
  });
});
