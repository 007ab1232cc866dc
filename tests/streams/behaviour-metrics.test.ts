import { describe, expect, it } from "vitest";
import { behaviourMetrics, judgedMetrics } from "../../src/streams/telemetry/behaviour-metrics.js";
import { assertMetrics } from "../../src/streams/telemetry/metrics.js";

const counts = (grounding: number, verification = 0) => ({
  grounding,
  subgoal_setting: 0,
  backtracking: 0,
  verification,
});

describe("behaviour metrics", () => {
  it("are means per response, absent without one", () => {
    const values = behaviourMetrics([
      { text: "Wait, no. The document says 3. The report states 4." },
      { text: "So the answer is 4." },
    ]);
    expect(values).toEqual({
      "behaviour/grounding_per_response": 1,
      "behaviour/subgoal_setting_per_response": 0,
      "behaviour/backtracking_per_response": 0.5,
      "behaviour/verification_per_response": 0,
    });
    expect(behaviourMetrics([])).toEqual({});
  });

  it("compare words and judge over the responses for which the judge gave counts", () => {
    const values = judgedMetrics([
      { byWords: counts(0, 1), byJudge: counts(1, 0) },
      { byWords: counts(1, 1), byJudge: counts(2, 3) },
      { byWords: counts(2, 1), byJudge: counts(3, 2) },
      { byWords: counts(9), byJudge: null },
    ]);
    expect(values).toMatchObject({
      "behaviour/judge_failed_share": 0.25,
      "behaviour/judged_grounding_per_response": 2,
      "behaviour/grounding_agreement": 2 / 3,
      "behaviour/grounding_correlation": 1,
      "behaviour/judged_verification_per_response": 5 / 3,
      "behaviour/verification_agreement": 2 / 3,
      "behaviour/backtracking_agreement": 1,
    });
    // The words found one in each response: no spread.
    expect(values).not.toHaveProperty("behaviour/verification_correlation");
    expect(() => assertMetrics(values as Readonly<Record<string, number>>)).not.toThrow();
  });

  it("say that all failed where the judge gave nothing, and nothing where it was not asked", () => {
    expect(judgedMetrics([{ byWords: counts(1), byJudge: null }])).toEqual({ "behaviour/judge_failed_share": 1 });
    expect(judgedMetrics([])).toEqual({});
  });
});
