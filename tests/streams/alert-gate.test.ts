/** When an alert is raised again: not 400 times for one cause. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Alert } from "../../src/contracts/alert.js";
import type { MetricName } from "../../src/contracts/metrics.js";
import { createAlertGate } from "../../src/streams/telemetry/alert-gate.js";

const alert = (step: number, rule = "entropy_collapse", metric: MetricName = "entropy/mean"): Alert => ({
  id: `${step}-${rule}-${metric}`,
  level: "error",
  rule,
  metric,
  value: 0.001,
  threshold: 0.01,
  z: null,
  step,
  phase: 1,
  policyVersion: step,
  text: "the policy has collapsed",
  culprits: [],
  time: 0,
});

/** Steps at which an alert is raised, of those at which it is found. */
function raised(found: readonly number[], repeatSteps = 50, rule?: string): number[] {
  const gate = createAlertGate(repeatSteps);
  const last = Math.max(...found);
  const steps = Array.from({ length: last }, (_, i) => i + 1);
  return steps.flatMap((step) => gate.admit(found.includes(step) ? [alert(step, rule)] : [], step)).map((a) => a.step);
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("an alert whose cause lasts", () => {
  it("is raised when it begins and then at growing intervals: 4 times in 400 steps", () => {
    // 50, then 100, then 200 steps later.
    expect(raised(range(1, 400))).toEqual([1, 51, 151, 351]);
  });

  it("says since when, from its second time on", () => {
    const gate = createAlertGate(2);
    expect(range(1, 3).flatMap((step) => gate.admit([alert(step)], step).map(({ text }) => text))).toEqual([
      "the policy has collapsed",
      "the policy has collapsed (since step 1)",
    ]);
  });

  it("is one cause where the value flickers about its limit, and another after five quiet steps", () => {
    expect(raised([1, 3, 5, 7, 9, 14])).toEqual([1]);
    expect(raised([1, 2, 7])).toEqual([1]);
    expect(raised([1, 2, 8])).toEqual([1, 8]);
  });

  it("is raised beside those of another rule or metric", () => {
    const gate = createAlertGate(50);
    const other = alert(1, "mismatch", "mismatch_abs");
    expect(gate.admit([alert(1), other], 1)).toHaveLength(2);
    expect(gate.admit([alert(2), alert(2, "kl_limit", "kl/old_k3")], 2).map(({ rule }) => rule)).toEqual(["kl_limit"]);
  });
});

describe("a spike", () => {
  it("is over with its step: the next one is raised again, one that follows at once is the same", () => {
    expect(raised([10, 11, 13], 50, "kl_spike")).toEqual([10, 13]);
  });
});

describe("the gate", () => {
  it("continues identically from its snapshot at any step", () => {
    const steps = fc.array(fc.boolean(), { minLength: 1, maxLength: 120 });
    fc.assert(
      fc.property(steps, fc.nat(119), fc.integer({ min: 1, max: 20 }), (found, cut, repeatSteps) => {
        const whole = createAlertGate(repeatSteps);
        let resumed = createAlertGate(repeatSteps);
        found.forEach((shows, i) => {
          if (i === cut) {
            const state = JSON.parse(JSON.stringify(resumed.snapshot()));
            resumed = createAlertGate(repeatSteps);
            resumed.restore(state);
          }
          const given = shows ? [alert(i + 1)] : [];
          expect(resumed.admit(given, i + 1)).toEqual(whole.admit(given, i + 1));
        });
        expect(resumed.snapshot()).toEqual(whole.snapshot());
      }),
    );
  });
});
