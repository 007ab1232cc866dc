/** The guard that a run has by itself: verdicts on candidates, patience, and what it remembers. */
import { describe, expect, it } from "vitest";
import { createStandardGuard, type StandardGuardOptions } from "../../src/actors/guard/standard-guard.js";
import type { Evidence, Guard, KlMeasure, Verdict } from "../../src/contracts/guard.js";
import type { MetricValues } from "../../src/contracts/metrics.js";
import { describeGuard, exampleEvidence } from "../../src/testing.js";

const OPTIONS: StandardGuardOptions = {
  detection: {
    ...{ window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 },
    ...{ truncatedShare: 0.95, staleShare: 0.5, advantageLimit: 20, judgeFailureShare: 0.1, judgeSeconds: 15 },
  },
  ...{ klLimit: 0.1, maxRollbacks: 3, aepo: null, entropyTarget: null },
};

describe("the guard standard", () =>
  describeGuard({ framework: { describe, it }, create: () => createStandardGuard(OPTIONS) }));

const { signal } = new AbortController();
const trial = (k3: number): KlMeasure => ({ k3, k1: k3, standardError: k3 / 10, max: 10 * k3, tokens: 100 });

/** Evidence of a healthy step, with a little noise that repeats every five steps. */
function calm(
  step: number,
  over: Partial<Omit<Evidence, "values">> & { readonly values?: MetricValues } = {},
): Evidence {
  const noise = step % 5;
  return exampleEvidence({
    step,
    learningRate: 3e-4,
    gradNorm: 1 + 0.1 * noise,
    trial: trial(0.004 * (1 + 0.2 * noise)),
    ...over,
    values: {
      "entropy/mean": 0.5 + 0.02 * noise,
      "advantage/max_abs": 2 + 0.1 * noise,
      "reward/unshaped_mean": 0.4 + 0.02 * noise,
      "reward/rule_judge_agreement": 0.9 + 0.01 * noise,
      "response/truncated_share": 0,
      "response/cut_short_share": 0,
      "group/stale_dropped_share": 0,
      mismatch_abs: 2e-4,
      ...over.values,
    },
  });
}

const judge = (guard: Guard, evidence: Evidence) => guard.judge(evidence, { signal }) as Verdict;

function warmedUp(steps = 20, options: Partial<StandardGuardOptions> = {}): Guard {
  const guard = createStandardGuard({ ...OPTIONS, ...options });
  for (let step = 1; step <= steps; step++) expect(judge(guard, calm(step))).toEqual({ action: "commit" });
  return guard;
}

/** `skip gradient_spike` */
const word = (verdict: Verdict) => (verdict.action === "commit" ? "commit" : `${verdict.action} ${verdict.rule}`);

type Over = Parameters<typeof calm>[1];
const afterCalm = (over: Over) => judge(warmedUp(), calm(21, over));

describe("a candidate", () => {
  it.each<[string, Over, string]>([
    ["a gradient that is not finite", { nonFinite: ["gradNorm"], gradNorm: null, trial: null }, "skip non_finite"],
    ["a steep gradient", { gradNorm: 900 }, "skip gradient_spike"],
    ["advantages of a thousand", { values: { "advantage/max_abs": 2000 } }, "skip advantage_limit"],
    ["a batch that was cut off", { values: { "response/truncated_share": 1 } }, "skip all_truncated"],
    ["a sampler that stops too early", { values: { "response/cut_short_share": 0.5 } }, "skip cut_short"],
    [
      "a judge that says yes to everything",
      { values: { "reward/unshaped_mean": 1, "reward/rule_judge_agreement": 0.4 } },
      "skip reward_hacking",
    ],
    ["a flood of old groups", { values: { "group/stale_dropped_share": 0.9 } }, "skip stale_flood"],
    ["a trial step a little too large", { trial: trial(0.4) }, "shrink kl_limit"],
    ["a trial step far too large", { trial: trial(40) }, "rollback kl_limit"],
    ["a sampler with other weights", { values: { mismatch_abs: 0.5 } }, "skip mismatch"],
    ["a policy that diverges", { values: { "entropy/mean": 3 } }, "rollback entropy_divergence"],
    ["a policy that collapsed", { values: { "entropy/mean": 0.001 } }, "rollback entropy_collapse"],
    ["a rate that jumps, without a trial step", { learningRate: 3e-2, trial: null }, "rollback step_size"],
    ["a rate that jumps and does no harm", { learningRate: 3e-2 }, "commit"],
    ["a rate that jumps and moves the policy far", { learningRate: 3e-2, trial: trial(2) }, "rollback step_size"],
    [
      "no gradient at all, of a policy that diverges",
      { values: { "entropy/mean": 3 }, tokens: 0, gradNorm: null, policy: null, trial: null, loss: null },
      "rollback entropy_divergence",
    ],
    [
      "no gradient at all, of responses that were cut off",
      { values: { "response/truncated_share": 1 }, tokens: 0, gradNorm: null, policy: null, trial: null, loss: null },
      "commit",
    ],
    ["a jump of entropy that is no divergence", { values: { "entropy/mean": 0.85 } }, "commit"],
    [
      "a steep gradient of an odd batch that moves the policy",
      { gradNorm: 900, trial: trial(40) },
      "skip gradient_spike",
    ],
  ])("with %s", (_, over, verdict) => {
    expect(word(afterCalm(over))).toBe(verdict);
  });

  it("is judged by the advantages of each gradient", () => {
    const guard = warmedUp();
    judge(guard, calm(21));
    const second = calm(21, { miniBatch: 1, values: { "advantage/max_abs": 2000 } });
    expect(word(judge(guard, second))).toBe("skip advantage_limit");
  });

  it("that is shrunk moves the policy to the limit, as the KL grows with the square of the step", () => {
    // √(0.1 / 0.4).
    expect(afterCalm({ trial: trial(0.4) })).toEqual({
      ...{ action: "shrink", scale: 0.5, rule: "kl_limit", metric: "kl/update", value: 0.4 },
      reason: "the step moves the policy by 0.4 nats (limit 0.1)",
    });
  });

  it("of a policy that was spoiled before goes back to before the update that spoiled it", () => {
    // Step 21 sampled from what step 20 made; 19 is the last good one, and older where the sampler lags.
    expect(afterCalm({ values: { "entropy/mean": 3 } })).toMatchObject({ lastGoodStep: 19 });
    expect(afterCalm({ values: { "entropy/mean": 3, "lag/max": 2 } })).toMatchObject({ lastGoodStep: 17 });
    expect(afterCalm({ trial: trial(40) })).not.toHaveProperty("lastGoodStep");
  });

  it("is only held to limits of its own where the run was always like that", () => {
    const guard = createStandardGuard(OPTIONS);
    const odd = { values: { mismatch_abs: 0.5, "advantage/max_abs": 2000, "response/truncated_share": 1 } };
    for (let step = 1; step <= 20; step++) expect(judge(guard, calm(step, odd))).toEqual({ action: "commit" });
    expect(word(judge(guard, calm(21, { ...odd, trial: trial(0.4) })))).toBe("shrink kl_limit");
  });

  it("of the warm-up is committed where it is finite, and teaches nothing about RL", () => {
    const guard = warmedUp(4);
    for (let step = 1; step <= 20; step++) judge(guard, calm(step, { stage: "warmup", gradNorm: 900 }));
    for (let step = 5; step <= 20; step++) judge(guard, calm(step));
    expect(word(judge(guard, calm(21, { gradNorm: 900 })))).toBe("skip gradient_spike");
    const broken = { stage: "warmup", nonFinite: ["loss"] } as const;
    for (let step = 1; step <= 5; step++) expect(word(judge(guard, calm(step, broken)))).toBe("skip non_finite");
  });
});

describe("the history", () => {
  it("takes in what was applied, and not what was thrown away", () => {
    const guard = warmedUp();
    for (const step of [21, 22]) judge(guard, calm(step, { gradNorm: 900 }));
    for (let step = 23; step <= 40; step++) expect(judge(guard, calm(step))).toEqual({ action: "commit" });
    expect(word(judge(guard, calm(41, { gradNorm: 900 })))).toBe("skip gradient_spike");
  });

  it("forgets steps that were undone", () => {
    const [plain, undone] = [warmedUp(), warmedUp()];
    for (let step = 21; step <= 32; step++) judge(undone, calm(step, { gradNorm: 4 }));
    for (const guard of [plain, undone]) for (let step = 21; step <= 24; step++) judge(guard, calm(step));
    const historyOf = (guard: Guard) => JSON.parse(JSON.stringify(guard.snapshot?.() ?? null)).histories;
    expect(historyOf(undone)).toEqual(historyOf(plain));
  });

  it("judges each gradient of a step, and the step's own numbers with the first", () => {
    const guard = warmedUp();
    judge(guard, calm(21));
    const second = { miniBatch: 1, values: { "entropy/mean": 3 } };
    expect(judge(guard, calm(21, second))).toEqual({ action: "commit" });
    expect(word(judge(guard, calm(21, { ...second, miniBatch: 2, gradNorm: 900 })))).toBe("skip gradient_spike");
  });
});

describe("patience", () => {
  const steep = (step: number) => calm(step, { gradNorm: 900 });

  it("ends at the third step in a row: back to before the first of them", () => {
    const guard = warmedUp();
    expect([21, 22].map((step) => [word(judge(guard, steep(step))), guard.state?.()])).toEqual([
      ["skip gradient_spike", "suspicious"],
      ["skip gradient_spike", "suspicious"],
    ]);
    expect(judge(guard, steep(23))).toMatchObject({ action: "rollback", rule: "gradient_spike", lastGoodStep: 20 });
    expect(guard.state?.()).toBe("cooling");
  });

  it("is restored by a calm step", () => {
    const guard = warmedUp();
    for (const step of [21, 22]) judge(guard, steep(step));
    judge(guard, calm(23));
    expect(guard.state?.()).toBe("suspicious");
    expect(word(judge(guard, steep(24)))).toBe("skip gradient_spike");
    expect(guard.state?.()).toBe("suspicious");
    for (const step of [25, 26]) judge(guard, calm(step));
    expect(guard.state?.()).toBe("watching");
  });

  it("counts the gradients of one step once", () => {
    const guard = warmedUp();
    const of = (step: number, miniBatch: number) => word(judge(guard, { ...steep(step), miniBatch }));
    expect([of(21, 0), of(21, 1), of(21, 2), of(22, 0), of(22, 1)]).toEqual(Array(5).fill("skip gradient_spike"));
    expect(of(23, 0)).toBe("rollback gradient_spike");
  });

  it("does not go back for groups that are too old: another policy would not mend it", () => {
    const guard = warmedUp();
    const flood = (step: number) => word(judge(guard, calm(step, { values: { "group/stale_dropped_share": 0.9 } })));
    expect([21, 22, 23].map(flood)).toEqual(["skip stale_flood", "skip stale_flood", "commit"]);
  });

  it("ends after more rollbacks in a row than it may ask for; then only what cannot be applied is held up", () => {
    const guard = warmedUp();
    const far = () => word(judge(guard, calm(21, { trial: trial(40) })));
    expect([far(), far(), far(), guard.state?.()]).toEqual([...Array(3).fill("rollback kl_limit"), "cooling"]);
    expect([far(), guard.state?.()]).toEqual(["rollback kl_limit", "exhausted"]);
    expect(far()).toBe("skip kl_limit");
    expect(word(judge(guard, calm(22, { values: { mismatch_abs: 0.5 } })))).toBe("commit");
    expect(word(judge(guard, calm(23, { nonFinite: ["loss"] })))).toBe("skip non_finite");
    for (let step = 24; step <= 34; step++) judge(guard, calm(step));
    expect(guard.state?.()).toBe("watching");
    expect(word(judge(guard, calm(35, { values: { mismatch_abs: 0.5 } })))).toBe("skip mismatch");
  });

  it("has a sampler that differs load the policy again, once, and then waits for longer", () => {
    const guard = warmedUp();
    const differs = (step: number) => word(judge(guard, calm(step, { values: { mismatch_abs: 0.5 } })));
    expect([21, 22, 23].map(differs)).toEqual(["skip mismatch", "skip mismatch", "rollback mismatch"]);
    const later = Array.from({ length: 20 }, (_, i) => differs(21 + i));
    expect(later).toEqual([...Array(19).fill("skip mismatch"), "rollback mismatch"]);
  });

  it("is restored once the run has come past the step that was thrown away", () => {
    const guard = warmedUp();
    judge(guard, calm(21, { trial: trial(40) }));
    for (const step of [20, 21]) judge(guard, calm(step));
    expect(guard.state?.()).toBe("cooling");
    judge(guard, calm(22));
    expect(guard.state?.()).toBe("watching");
  });
});

describe("its snapshot", () => {
  it("brings back verdicts, patience and control at any step", () => {
    const control = { aepo: { low: 0.4, high: 0.55 }, entropyTarget: { target: 0.5, change: 0.01, max: 0.05 } };
    const whole = warmedUp(20, control);
    const batch = (entropy: number) => ({
      ...{ step: 21, phase: 1, policyVersion: 20, entropyCoefficient: 0.001 },
      values: { "entropy/mean": entropy },
    });
    whole.prepare?.(batch(0.6), { signal });
    judge(whole, calm(21, { gradNorm: 900 }));
    const resumed = createStandardGuard({ ...OPTIONS, ...control });
    resumed.restore?.(JSON.parse(JSON.stringify(whole.snapshot?.())));
    for (const guard of [whole, resumed]) {
      expect(guard.prepare?.(batch(0.5), { signal })).toMatchObject({ maskNegatives: true });
      expect([22, 23].map((step) => word(judge(guard, calm(step, { gradNorm: 900 }))))).toEqual([
        "skip gradient_spike",
        "rollback gradient_spike",
      ]);
    }
    expect(resumed.snapshot?.()).toEqual(whole.snapshot?.());
  });

  it("is refused where it is not its own", () => {
    expect(() => createStandardGuard(OPTIONS).restore?.({ norms: [] })).toThrow(/WEIR_E_CHECKPOINT_DAMAGED/);
  });
});
