/** Adversarial predictions have stated scores and get them: by rule, and with a judge that repeats what it was shown. */
import { afterAll, describe, expect, it } from "vitest";
import { createHybridReward, createRuleReward } from "../../src/actors/reward/reward.js";
import type { RewardMode, RewardOutcome } from "../../src/contracts/reward.js";
import { createJudge } from "../../src/rewards/judge/judge.js";
import { judgePrompt } from "../../src/rewards/judge/prompt.js";
import { createRuleThreads } from "../../src/rewards/rule-threads.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";
import { ADVERSARIES, type Adversary } from "./adversarial-cases.js";

const { signal } = new AbortController();
const MODES = ["paper", "released"] as const;

/** The rules as a run has them: in threads, with the default deadline. */
const threads = Object.fromEntries(
  MODES.map((mode) => [
    mode,
    createRuleThreads({ mode, requireThink: true, workers: 1, timeoutMs: 10_000, module: null }),
  ]),
);
afterAll(() => Promise.all(Object.values(threads).map((rules) => rules.dispose())));

/** A judge that finds no equality and repeats all it was shown, before its verdict or after it. */
function echoing(mode: RewardMode, end: "verdict" | "echo") {
  const backend = {
    kind: "echo",
    model: "echo",
    redact: (text: string) => text,
    complete: async (messages: readonly { readonly content: string | null }[]) => {
      const shown = messages.at(-1)?.content ?? "";
      const text = end === "verdict" ? `${shown}\n[[NO]]` : `[[NO]]\n${shown}`;
      return { kind: "text", text, cut: false } as const;
    },
  };
  const prompt = judgePrompt({ mode, template: null, maxPredictionChars: 8_000 });
  return createJudge(backend, { mode, prompt, cache: null, groupTimeoutMs: 60_000, maxTokens: null });
}

function outcomeOf(
  [, source, response, gold]: Adversary,
  mode: RewardMode,
  end?: "verdict" | "echo",
): Promise<RewardOutcome> {
  const rules = threads[mode];
  const options = { mode, requireThink: true, ...(rules ? { rules } : {}) };
  const actor =
    end === undefined ? createRuleReward(options) : createHybridReward({ ...options, judge: echoing(mode, end) });
  const task = exampleTask({ source, goldAnswers: [gold] });
  return actor.handle({ task, rollout: exampleRollout(task, response) }, { signal });
}

const valueIn = (outcome: RewardOutcome) => (outcome.kind === "scored" ? outcome.value : outcome.kind);
const wasAsked = (outcome: RewardOutcome) => "judge" in outcome && outcome.judge !== undefined;

describe(`${ADVERSARIES.length} adversarial predictions`, () => {
  it("are at least sixty, of different names", () => {
    expect(ADVERSARIES.length).toBeGreaterThanOrEqual(60);
    expect(new Set(ADVERSARIES.map(([name]) => name)).size).toBe(ADVERSARIES.length);
  });

  describe.each(ADVERSARIES.map((adversary) => [adversary[0], adversary] as const))("%s", (_, adversary) => {
    const [, , response, , [paper, released]] = adversary;

    it(`scores [${paper}, ${released}] by rule, in time`, async () => {
      const outcomes = await Promise.all(MODES.map((mode) => outcomeOf(adversary, mode)));
      expect(outcomes.map(valueIn)).toEqual([paper, released]);
    });

    it("gains nothing from a judge that repeats it: in the paper's mode the verdict stands; the release reads YES anywhere", async () => {
      const [strict, loose] = await Promise.all(MODES.map((mode) => outcomeOf(adversary, mode, "verdict")));
      expect(valueIn(strict as RewardOutcome)).toBe(paper);
      const fooled = wasAsked(loose as RewardOutcome) && response.includes("YES");
      expect(valueIn(loose as RewardOutcome)).toBe(fooled ? 1 : released);
    });

    it("gains nothing from a judge whose reply ends with it: no verdict is read", async () => {
      const strict = await outcomeOf(adversary, "paper", "echo");
      expect(valueIn(strict)).toBe(wasAsked(strict) ? "failed" : paper);
    });
  });
});
