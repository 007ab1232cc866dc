/** Metrics of a batch before it is trained on, against numbers by hand, and the rollouts that they are due to. */
import { describe, expect, it } from "vitest";
import { copiedTrigrams, quotedShare, wordsOf } from "../../src/algorithms/overlap.js";
import type { Group, ScoredRollout } from "../../src/contracts/group.js";
import type { JudgeUse } from "../../src/contracts/judge.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { type BatchInput, batchFacts } from "../../src/streams/telemetry/batch-facts.js";
import { assertMetrics } from "../../src/streams/telemetry/metrics.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";

const scored = (value: number, parts: Readonly<Record<string, number>> = {}): RewardOutcome => ({
  kind: "scored",
  value,
  parts,
  prediction: null,
});

interface Given {
  readonly id: string;
  readonly tokenIds?: readonly number[];
  readonly entropies?: readonly number[] | null;
  readonly text?: string;
  readonly outcome?: RewardOutcome;
  readonly finish?: "stop" | "length" | "aborted";
}

function member({ id, tokenIds = [1], entropies = null, text = "x", outcome = scored(1), finish = "stop" }: Given) {
  const rollout = { ...exampleRollout(exampleTask(), text), id, promptIds: [1, 2, 3, 4, 1, 2, 9], tokenIds, entropies };
  const reward = outcome.kind === "scored" ? outcome.value : null;
  return { rollout: { ...rollout, finish }, outcome, reward } satisfies ScoredRollout;
}

function groupOf(id: string, members: readonly Given[], meta: Group["task"]["meta"] = {}): Group {
  const task = { ...exampleTask(), id, promptTokens: 5, meta };
  return { id, task, phase: 1, visit: 0, carried: false, sequence: 0, members: members.map(member) };
}

const facts = (groups: readonly Group[], over: Partial<BatchInput> = {}) =>
  batchFacts({
    ...{ groups, kept: [], dropped: [], rounds: 1, phases: [], correctAt: 1, maxLag: 0, maxTokens: 5 },
    judgePrice: null,
    ...over,
  });

describe("entropy by position", () => {
  it("is the token mean of each quarter of each response: token t of T lies in quarter floor(4t/T)", () => {
    // T = 4: one token each. T = 2: tokens in quarters 0 and 2. T = 6: quarters 0 0 1 2 2 3.
    const { values } = facts([
      groupOf("g", [
        { id: "a", entropies: [1, 2, 3, 4] },
        { id: "b", entropies: [5, 7] },
        { id: "c", entropies: [0, 1, 2, 3, 4, 5] },
      ]),
    ]);
    expect(values["entropy/first_quarter"]).toBeCloseTo((1 + 5 + 0 + 1) / 4, 12);
    expect(values["entropy/second_quarter"]).toBeCloseTo((2 + 2) / 2, 12);
    expect(values["entropy/third_quarter"]).toBeCloseTo((3 + 7 + 3 + 4) / 4, 12);
    expect(values["entropy/last_quarter"]).toBeCloseTo((4 + 5) / 2, 12);
    expect(values["entropy/mean"]).toBeCloseTo(37 / 12, 12);
  });

  it("I1: is absent for a sampler without entropies, and for a quarter without a token", () => {
    expect(
      Object.keys(facts([groupOf("g", [{ id: "a" }])]).values).filter((name) => name.startsWith("entropy")),
    ).toEqual([]);
    const { values } = facts([groupOf("g", [{ id: "a", entropies: [2] }])]);
    expect(values["entropy/first_quarter"]).toBe(2);
    expect(values).not.toHaveProperty("entropy/last_quarter");
  });
});

describe("copying", () => {
  it("is the share of a response's 3-grams that its prompt has, averaged over responses of three tokens or more", () => {
    // Prompt 1 2 3 4 1 2 9. a: 123 341 412 of 123 235 … ; b: none; c is too short.
    const { values, contributions } = facts([
      groupOf("g", [
        { id: "a", tokenIds: [1, 2, 3, 5, 4, 1, 2] }, // 123 yes, 235 no, 354 no, 541 no, 412 yes
        { id: "b", tokenIds: [7, 7, 7] },
        { id: "c", tokenIds: [1, 2] },
      ]),
    ]);
    expect(values["response/ngram_overlap"]).toBeCloseTo((2 / 5 + 0) / 2, 12);
    const own = contributions.filter(({ metric }) => metric === "response/ngram_overlap");
    expect(own[0]).toEqual({ metric: "response/ngram_overlap", rolloutId: "a", contribution: 2, tokenIndex: 0 });
    expect(own.map(({ rolloutId }) => rolloutId)).toEqual(["a", "b"]);
  });

  it("finds 3-grams exactly, whatever the size of the ids", () => {
    const [a, b, c] = [2 ** 31 - 1, 2 ** 30 + 7, 3];
    expect(copiedTrigrams([[a, b, c, a], [c, b, a], []], [9, a, b, c, 9, c, a])).toEqual([[1, 0], [0], []]);
  });

  it("of the evidence is the share of its 3-grams of words that the response quotes, sentence by sentence", () => {
    const evidence = ["The capital of Peru is Lima.", "Lima has coast."];
    expect(wordsOf("Lima's 3 gates, ÀÉ!")).toEqual(["lima", "s", "3", "gates", "àé"]);
    // the-capital-of, capital-of-peru, of-peru-is, peru-is-lima; lima-has-coast.
    expect(quotedShare(evidence, "so THE CAPITAL of Peru is Lima", 3)).toBe(4 / 5);
    expect(quotedShare(evidence, "lima has coast: peru is Lima has", 3)).toBe(2 / 5);
    expect(quotedShare(["two words"], "two words", 3)).toBeNull();
    const groups = [
      groupOf(
        "g",
        [
          { id: "a", text: "The capital of Peru is Lima." },
          { id: "b", text: "Lima" },
        ],
        { evidence },
      ),
      groupOf("h", [{ id: "c", text: "nothing to quote" }]),
    ];
    const { values, contributions } = facts(groups);
    expect(values["response/evidence_overlap"]).toBeCloseTo((4 / 5 + 0) / 2, 12);
    expect(contributions.filter(({ metric }) => metric === "response/evidence_overlap")).toEqual([
      expect.objectContaining({ rolloutId: "a", contribution: expect.closeTo(0.2, 12) }),
      expect.objectContaining({ rolloutId: "b", contribution: 1 }),
    ]);
    expect(facts([groups[1] as Group]).values).not.toHaveProperty("response/evidence_overlap");
  });
});

describe("behaviours and copies from distractors", () => {
  const evidence = ["The capital of Peru is Lima."];
  const text = "According to the document, the capital of Peru is Lima, and the capital of Chile is Santiago.";
  const known = (change: Partial<Group["task"]>): Group => {
    const group = groupOf(
      "g",
      [
        { id: "a", text },
        { id: "b", text: "Lima" },
      ],
      { evidence },
    );
    return { ...group, task: { ...group.task, ...change } };
  };
  // 15 runs of three words. In the evidence: the-capital-of twice, capital-of-peru, of-peru-is, peru-is-lima.
  // Elsewhere: and-the-capital, capital-of-chile, of-chile-is, chile-is-santiago.
  const chile = "And the capital of Chile is Santiago. The capital of Peru is Lima.";

  it("tell what a response has of the evidence from what it has of the rest of the document", () => {
    const { values } = facts([known({ document: chile })]);
    expect(values["response/evidence_copied"]).toBeCloseTo(5 / 15, 12);
    expect(values["response/distractor_copied"]).toBeCloseTo(4 / 15, 12);
    expect(values["behaviour/grounding_per_response"]).toBe(0.5);
    expect(() => assertMetrics(values as Readonly<Record<string, number>>)).not.toThrow();
  });

  it("take the distractors that the task lists, and know none without a document", () => {
    const listed = known({ document: chile, meta: { evidence, distractors: ["Chile is Santiago"] } });
    expect(facts([listed]).values["response/distractor_copied"]).toBeCloseTo(1 / 15, 12);
    const unknown = facts([known({ document: null })]).values;
    expect(unknown).toHaveProperty("response/evidence_copied");
    expect(unknown).not.toHaveProperty("response/distractor_copied");
    const { values } = facts([groupOf("g", [{ id: "a", text }])]);
    expect(values).not.toHaveProperty("response/evidence_copied");
  });
});

describe("rewards that say different things", () => {
  const groups = [
    groupOf("g", [
      { id: "both", outcome: scored(1, { rule: 1, judge: 1 }) },
      { id: "neither", outcome: scored(0, { rule: 0, judge: 0.5 }) },
      { id: "judge only", outcome: scored(1, { rule: 0, judge: 1 }) },
      { id: "unasked", outcome: scored(1, { rule: 1 }) },
      { id: "broken", outcome: { kind: "invalid", reason: "NaN" } },
      { id: "late", outcome: { kind: "timedOut", afterMs: 1, reason: "slow" } },
    ]),
  ];

  it("give the share of rollouts on which rule and judge agree, and name the others", () => {
    const { values, contributions } = facts(groups);
    expect(values["reward/rule_judge_agreement"]).toBeCloseTo(2 / 3, 12);
    const disagree = contributions.filter(({ metric }) => metric === "reward/rule_judge_agreement");
    expect(disagree.map(({ rolloutId }) => rolloutId)).toEqual(["judge only"]);
    expect(facts([groupOf("h", [{ id: "r", outcome: scored(1, { rule: 1 }) }])]).values).not.toHaveProperty(
      "reward/rule_judge_agreement",
    );
  });

  it("I1: count what is no number, and name it, without a place in any mean", () => {
    const { values, contributions } = facts(groups);
    expect(values).toMatchObject({ "reward/invalid": 1, "reward/scored_share": 4 / 6, "reward/mean": 0.75 });
    const of = (name: string) => contributions.filter(({ metric }) => metric === name).map((one) => one.rolloutId);
    expect(of("reward/invalid")).toEqual(["broken"]);
    expect(of("reward/scored_share")).toEqual(["broken", "late"]);
    expect(of("reward/mean")).toEqual(["both", "neither", "judge only", "unasked"]);
  });
});

describe("what ended", () => {
  it("gives the share of groups that became stale, with their rollouts, where lag is allowed", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((id) => groupOf(id, [{ id: `r-${id}` }])) as [
      Group,
      Group,
      Group,
      Group,
    ];
    const dropped = [
      { group: a, reason: "stale" },
      { group: b, reason: "zero_variance" },
      { group: c, reason: "stale" },
    ];
    const over = { kept: [{ group: d }], dropped, maxLag: 2 };
    const { values, contributions } = facts([a, b, c, d], over);
    expect(values["group/stale_dropped_share"]).toBe(0.5);
    const stale = contributions.filter(({ metric }) => metric === "group/stale_dropped_share");
    expect(stale.map(({ rolloutId }) => rolloutId)).toEqual(["r-a", "r-c"]);
    expect(facts([a, b, c, d], { ...over, maxLag: 0 }).values).not.toHaveProperty("group/stale_dropped_share");
  });

  it("ranks responses by length, and names those that were cut", () => {
    const { values, contributions } = facts([
      groupOf("g", [
        { id: "long", tokenIds: [1, 2, 3, 4, 5], finish: "length" },
        { id: "short", tokenIds: [1] },
      ]),
    ]);
    expect(values).toMatchObject({
      "response/truncated_share": 0.5,
      "response/cut_short_share": 0,
      "response/length_mean": 3,
    });
    expect(contributions.filter(({ metric }) => metric === "response/length_mean")).toEqual([
      { metric: "response/length_mean", rolloutId: "long", contribution: 5, tokenIndex: 4 },
      { metric: "response/length_mean", rolloutId: "short", contribution: 1, tokenIndex: 0 },
    ]);
    expect(contributions.filter(({ metric }) => metric === "response/truncated_share")).toHaveLength(1);
    expect(() => assertMetrics(values as Readonly<Record<string, number>>)).not.toThrow();
  });

  it("names responses that a sampler stopped earlier than it was told to", () => {
    const cut = groupOf("g", [
      { id: "cut", tokenIds: [1, 2, 3], finish: "length" },
      { id: "whole", tokenIds: [1, 2, 3, 4, 5, 6, 7, 8], finish: "length" },
      { id: "done", tokenIds: [1, 2], finish: "stop" },
      { id: "aborted", tokenIds: [1], finish: "aborted" },
    ]);
    const { values, contributions } = facts([cut], { maxTokens: 8 });
    expect(values).toMatchObject({ "response/truncated_share": 0.5, "response/cut_short_share": 0.25 });
    expect(contributions.filter(({ metric }) => metric === "response/cut_short_share")).toEqual([
      { metric: "response/cut_short_share", rolloutId: "cut", contribution: 1, tokenIndex: 2 },
    ]);
  });
});

describe("a group that is not viable", () => {
  it("I1: enters no mean of rewards, though its responses count as scored or not, and is counted", () => {
    const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_JUDGE", reason: "away" };
    // The judge was away, so that only what the rule found right was scored.
    const biased = groupOf("b", [{ id: "b0" }, { id: "b1", outcome: failed }, { id: "b2", outcome: failed }]);
    const fair = groupOf("f", [{ id: "f0", outcome: scored(0) }, { id: "f1" }, { id: "f2", outcome: scored(0) }]);
    const dropped = [{ group: biased, reason: "group_too_small" }];
    const { values, contributions } = facts([biased, fair], { dropped });
    expect(values["reward/mean"]).toBeCloseTo(1 / 3, 12);
    expect(values["accuracy/mean"]).toBeCloseTo(1 / 3, 12);
    expect(values["reward/scored_share"]).toBeCloseTo(4 / 6, 12);
    expect(values["group/unviable_share"]).toBe(0.5);
    expect(values["group/zero_variance_share"]).toBe(0);
    expect(contributions.filter(({ metric }) => metric === "reward/mean").map(({ rolloutId }) => rolloutId)).toEqual([
      "f0",
      "f1",
      "f2",
    ]);
    const alone = facts([biased], { dropped }).values;
    expect(alone["group/unviable_share"]).toBe(1);
    for (const name of ["reward/mean", "accuracy/mean", "group/zero_variance_share"])
      expect(alone).not.toHaveProperty(name);
  });
});

describe("the judge's numbers", () => {
  const use = (seconds: number, over: Partial<JudgeUse> = {}): JudgeUse => ({
    ...{ requests: 1, seconds, promptTokens: 100, completionTokens: 10, cached: false },
    ...over,
  });
  const asked = (judge: JudgeUse): RewardOutcome => ({ kind: "scored", value: 1, parts: {}, prediction: null, judge });
  const groups = [
    groupOf("g", [
      { id: "rule", outcome: scored(1) },
      { id: "fast", outcome: asked(use(1)) },
      { id: "slow", outcome: asked(use(4, { requests: 3 })) },
      { id: "cached", outcome: asked(use(0.001, { requests: 0, promptTokens: 0, completionTokens: 0, cached: true })) },
      { id: "late", outcome: { kind: "timedOut", afterMs: 9_000, reason: "late", judge: use(9, { requests: 2 }) } },
    ]),
  ];

  it("come from the outcomes of those that it was asked about", () => {
    const { values, contributions } = facts(groups, {
      judgePrice: { promptPerMillion: 2, completionPerMillion: 10 },
    });
    expect(values["judge/failure_share"]).toBe(1 / 4);
    expect(values["judge/cached_share"]).toBe(1 / 4);
    expect(values["judge/requests"]).toBe(1 + 3 + 0 + 2);
    expect(values["judge/seconds_mean"]).toBeCloseTo((1 + 4 + 9) / 3, 12);
    // Rank ⌈0.95 · 3⌉ = 3 of 1, 4, 9.
    expect(values["judge/seconds_p95"]).toBe(9);
    expect(values["judge/tokens"]).toBe(330);
    expect(values["judge/cost"]).toBeCloseTo((300 * 2 + 30 * 10) / 1e6, 15);
    expect(() => assertMetrics(values)).not.toThrow();
    const culprits = (metric: string) => contributions.filter((one) => one.metric === metric);
    expect(culprits("judge/failure_share").map(({ rolloutId }) => rolloutId)).toEqual(["late"]);
    expect(culprits("judge/seconds_p95").map(({ contribution }) => contribution)).toEqual([1, 4, 9]);
  });

  it("are absent where nothing was measured", () => {
    const names = (of: readonly Group[], over: Partial<BatchInput> = {}) =>
      Object.keys(facts(of, over).values).filter((name) => name.startsWith("judge/"));
    expect(names([groupOf("g", [{ id: "rule" }])])).toEqual([]);
    expect(names(groups)).not.toContain("judge/cost");
    const untold = use(1, { promptTokens: null, completionTokens: null });
    expect(names([groupOf("g", [{ id: "a", outcome: asked(untold) }])])).toEqual([
      "judge/failure_share",
      "judge/cached_share",
      "judge/requests",
      "judge/seconds_mean",
      "judge/seconds_p95",
    ]);
  });
});
