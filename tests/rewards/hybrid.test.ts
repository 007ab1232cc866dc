import { describe, expect, it } from "vitest";
import { createHybridReward, hybridPolicies } from "../../src/actors/reward/reward.js";
import { combineRewards, dependsOnJudge } from "../../src/algorithms/hybrid.js";
import { configSchema } from "../../src/config/schema.js";
import type { JudgeOptions, JudgeVerdict } from "../../src/contracts/judge.js";
import { paperPolicy } from "../../src/rewards/hybrid.js";
import { createFakeJudge, exampleRollout, exampleTask } from "../../src/testing.js";

const { signal } = new AbortController();
type Verdict = 0 | 1 | JudgeVerdict;
const DOWN: JudgeVerdict = { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" };
const RIGHT = "</think>the answer is Paris.";
const WRONG = "</think>the answer is Lutetia.";
const UNPARSED = "</think>no idea";

/** Value (or the outcome's kind) and how often the judge was asked. */
async function scored(reward: object, text: string, verdict: Verdict, source = "musique", gold?: string) {
  const config = configSchema.shape.reward.parse(reward);
  const judge = createFakeJudge([verdict]);
  const actor = createHybridReward({
    mode: config.mode,
    requireThink: true,
    judge,
    policyOf: hybridPolicies(config),
  });
  const task = exampleTask({ source, ...(gold === undefined ? {} : { goldAnswers: [gold] }) });
  const outcome = await actor.handle({ task, rollout: exampleRollout(task, text) }, { signal });
  return [outcome.kind === "scored" ? outcome.value : outcome.kind, judge.seen.length] as const;
}

describe("rule and judge combined", () => {
  const weights = { rule: 1, judge: 3 };
  it.each([
    ["max", 0, 0, 0],
    ["max", 0, 1, 1],
    ["max", 1, 0, 1],
    ["max", 0.4, 0, 0.4],
    ["weighted", 0, 1, 0.75],
    ["weighted", 1, 0, 0.25],
    ["weighted", 1, 1, 1],
    ["weighted", 0.4, 1, 0.85],
    ["first", 0.5, 1, 0.5],
    ["first", 0.4, 1, 1],
    ["first", 0.4, 0, 0.4],
    ["first", 2, 1, 2],
    ["weighted", 0.4, null, 0.4],
    ["max", 0.4, null, 0.4],
  ] as const)("%s of rule %s and judge %s is %s, a success being 0.5", (combine, rule, judge, expected) => {
    expect(combineRewards({ combine, weights, correctAt: 0.5 }, rule, judge)).toBeCloseTo(expected, 12);
  });

  it.each([
    ["max", 0, true],
    ["max", 1, false],
    ["first", 0.6, false],
    ["first", 0.4, true],
    ["weighted", 1, true],
  ] as const)("%s over a rule of %s depends on the judge: %s", (combine, rule, expected) => {
    expect(dependsOnJudge({ combine, weights, correctAt: 0.5 }, rule)).toBe(expected);
  });
});

describe("when the judge is asked, and what its absence costs: [value or outcome, questions]", () => {
  const always = { hybrid: { askJudge: "always" } };
  const weighted = { hybrid: { combine: "weighted", askJudge: "always", weights: { rule: 1, judge: 3 } } };
  const cases: readonly (readonly [string, object, string, Verdict, readonly [number | string, number]])[] = [
    ["rule-failed, rule 1", {}, RIGHT, 0, [1, 0]],
    ["rule-failed, rule 0, judge 1", {}, WRONG, 1, [1, 1]],
    ["rule-failed, rule 0, judge 0", {}, WRONG, 0, [0, 1]],
    ["rule-failed, rule 0, judge away", {}, WRONG, DOWN, ["failed", 1]],
    ["rule-failed, nothing parsed", {}, UNPARSED, 1, [0, 0]],
    ["never", { hybrid: { askJudge: "never" } }, WRONG, 1, [0, 0]],
    ["always, rule 1, judge 0", always, RIGHT, 0, [1, 1]],
    ["always, rule 1, judge away: its verdict changes nothing", always, RIGHT, DOWN, [1, 1]],
    ["always, rule 0, judge away", always, WRONG, DOWN, ["failed", 1]],
    ["always, nothing parsed", always, UNPARSED, 1, [0, 0]],
    ["weighted, rule 1, judge 0", weighted, RIGHT, 0, [0.25, 1]],
    ["weighted, rule 0, judge 1", weighted, WRONG, 1, [0.75, 1]],
    ["weighted, rule 1, judge away: the value would depend on it", weighted, RIGHT, DOWN, ["failed", 1]],
    ["first, rule 1, judge away", { hybrid: { ...always.hybrid, combine: "first" } }, RIGHT, DOWN, [1, 1]],
    ["first, rule 0, judge 1", { hybrid: { combine: "first" } }, WRONG, 1, [1, 1]],
    ["rule-failed where 0 is a success already", { correctAt: 0 }, WRONG, 1, [0, 0]],
  ];
  it.each(cases)("%s", async (_, reward, text, verdict, expected) => {
    expect(await scored(reward, text, verdict)).toEqual(expected);
  });

  it("asks no judge about multiple choice unless that family is told to", async () => {
    const [text, gold] = ["</think>The correct answer is (A).", "The correct answer is (B)."];
    const asked = (hybrid: object) => scored({ hybrid }, text, 1, "long_toc_choices", gold);
    expect(await asked({})).toEqual([0, 0]);
    expect(await asked({ askJudge: "always" })).toEqual([0, 0]);
    expect(await asked({ families: { multipleChoice: { askJudge: "rule-failed" } } })).toEqual([1, 1]);
  });

  it("takes what a family has of its own, and the rest from all", async () => {
    const hybrid = {
      weights: { rule: 1, judge: 3 },
      families: { numeric: { combine: "weighted" }, qa: { askJudge: "never" } },
    };
    expect(await scored({ hybrid }, WRONG, 1)).toEqual([0, 0]);
    expect(await scored({ hybrid }, "</think>the answer is 7.", 1, "docmath", "the answer is 8.")).toEqual([0.75, 1]);
  });

  it("refuses weights that are both 0, by name", () => {
    const parsed = configSchema.shape.reward.safeParse({ hybrid: { weights: { rule: 0, judge: 0 } } });
    expect(parsed.error?.issues).toMatchObject([
      { path: ["hybrid", "weights"], message: "expected weights that are not both 0" },
    ]);
  });

  it("is the paper's reward by default", () => {
    const policies = hybridPolicies(configSchema.shape.reward.parse({}));
    for (const family of ["multiple-choice", "numeric", "qa", null] as const)
      expect(policies(family)).toEqual(paperPolicy(family));
  });
});

describe("what a verdict took", () => {
  const use = { requests: 2, seconds: 0.5, promptTokens: 90, completionTokens: 12, cached: false };
  const task = exampleTask();
  const outcomeOf = async (verdict: JudgeVerdict, text = WRONG, askJudge: "always" | "rule-failed" = "rule-failed") => {
    const asked: JudgeOptions[] = [];
    const judge = createFakeJudge([verdict]);
    const actor = createHybridReward({
      ...{ mode: "paper", requireThink: true },
      judge: {
        ...judge,
        ask: (query, options) => {
          asked.push(options);
          return judge.ask(query, options);
        },
      },
      policyOf: (family) => ({ ...paperPolicy(family), askJudge }),
    });
    const rollout = { ...exampleRollout(task, text), groupId: "task-7#3" };
    return { outcome: await actor.handle({ task, rollout }, { signal }), asked };
  };

  it("is part of the outcome, whatever the outcome is", async () => {
    const yes = await outcomeOf({ kind: "verdict", value: 1, reply: "[[YES]]", use });
    expect(yes.outcome).toMatchObject({ kind: "scored", value: 1, judge: use });
    const late = await outcomeOf({ kind: "timedOut", afterMs: 5, reason: "late", use });
    expect(late.outcome).toEqual({ kind: "timedOut", afterMs: 5, reason: "late", judge: use });
    const failed = await outcomeOf({ ...DOWN, use } as JudgeVerdict);
    expect(failed.outcome).toEqual({ ...DOWN, judge: use });
    const unneeded = await outcomeOf({ ...DOWN, use } as JudgeVerdict, RIGHT, "always");
    expect(unneeded.outcome).toEqual({ kind: "scored", value: 1, parts: { rule: 1 }, prediction: "Paris", judge: use });
  });

  it("names the group whose questions share a deadline", async () => {
    const { asked } = await outcomeOf({ kind: "verdict", value: 0, reply: "[[NO]]" });
    expect(asked).toMatchObject([{ group: "task-7#3" }]);
  });
});

describe("a judge that is not ready", () => {
  it("is a reward that is not ready", () => {
    const readiness = { state: () => ({ ready: true }) as const, onChange: () => () => undefined };
    const options = { mode: "paper", requireThink: true } as const;
    const judge = createFakeJudge([1]);
    expect(createHybridReward({ ...options, judge: { ...judge, readiness } }).readiness).toBe(readiness);
    expect(createHybridReward({ ...options, judge }).readiness).toBeUndefined();
  });

  it("is connected and disposed of with its reward", async () => {
    const calls: string[] = [];
    const judge = {
      ...createFakeJudge([1]),
      connect: async () => void calls.push("connect"),
      dispose: async () => void calls.push("dispose"),
    };
    const actor = createHybridReward({ mode: "paper", requireThink: true, judge });
    await actor.connect?.({ signal });
    await actor.dispose?.();
    expect(calls).toEqual(["connect", "dispose"]);
  });
});
