import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { createRuleReward, ruleRewardOptions } from "../../src/actors/reward/reward.js";
import { configSchema } from "../../src/config/schema.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import type { RuleFunctionInput } from "../../src/contracts/rule.js";
import { createRuleThreads, type RuleScorer, type RuleThreadOptions } from "../../src/rewards/rule-threads.js";
import { exampleRollout, exampleTask } from "../../src/testing.js";

const folder = mkdtempSync(join(tmpdir(), "weir-rules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const opened: { dispose?(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.dispose?.();
});

/** A rule of the user's own: does what the response says. */
const RULE = `
export default async ({ response, goldAnswers, problem, document, meta }) => {
  switch (response) {
    case "catastrophe": return /^(a+)+$/.test("a".repeat(60) + "!") ? 1 : 0;
    case "loop": for (;;);
    case "throw": throw new TypeError("no such thing");
    case "exit": return process.exit(3);
    case "stray": setImmediate(() => { throw new Error("thrown later") }); return new Promise(() => {});
    case "NaN": return NaN;
    case "text": return "1";
    case "bad parts": return { value: 1, parts: { length: "long" } };
    case "whole": return { value: 0.25, prediction: problem + " " + document + " " + meta.index, gold: goldAnswers[1], parts: { length: 7 } };
    default: return response.length;
  }
};
`;
const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const ruleFile = file("rule.mjs", RULE);

function threads(options: Partial<RuleThreadOptions> = {}): RuleScorer {
  const made = createRuleThreads({
    mode: "paper",
    requireThink: true,
    workers: 2,
    timeoutMs: 60_000,
    module: ruleFile,
    ...options,
  });
  opened.push(made);
  return made;
}

const says = (response: string, source = "anything"): RuleFunctionInput => ({
  source,
  response,
  goldAnswers: ["Therefore, the answer is Paris.", "Therefore, the answer is Lutetia."],
  problem: null,
  document: null,
  meta: {},
});
const live = () => new AbortController().signal;

describe("a rule in a thread", () => {
  it("gives what the built-in rule gives here", async () => {
    const scorer = threads({ module: null });
    const input = says("<think>…</think> Therefore, the answer is paris!", "musique");
    expect(await scorer.score(input, live())).toMatchObject({
      kind: "result",
      result: { family: "qa", score: 1, prediction: "paris!", gold: "Paris" },
    });
  });

  it("rejects an unknown data source, as a built-in rule does", async () => {
    await expect(threads({ module: null }).score(says("x", "gsm8k"), live())).rejects.toThrow(
      /WEIR_E_REWARD_SOURCE.*gsm8k/,
    );
  });

  it("scores by a function of the user's own", async () => {
    const scorer = threads();
    expect(await scorer.score(says("12345"), live())).toMatchObject({
      kind: "result",
      result: { score: 5, parts: {} },
    });
    const task = { ...says("whole"), problem: "Where?", document: "Rome.", meta: { index: 4 } };
    expect(await scorer.score(task, live())).toEqual({
      kind: "result",
      result: {
        family: null,
        score: 0.25,
        parts: { length: 7 },
        prediction: "Where? Rome. 4",
        gold: "Therefore, the answer is Lutetia.",
        judgeable: true,
        stated: { prediction: "Where? Rome. 4", gold: "Therefore, the answer is Lutetia." },
      },
    });
  });

  it.each(["catastrophe", "loop"])("that never comes back is ended at its deadline: %s", async (response) => {
    const scorer = threads({ timeoutMs: 300, workers: 1 });
    await scorer.connect();
    const started = performance.now();
    expect(await scorer.score(says(response), live())).toEqual({
      kind: "timedOut",
      afterMs: 300,
      reason: "the rule gave no score within reward.rules.timeoutMs = 300 ms and was ended",
    });
    expect(performance.now() - started).toBeGreaterThanOrEqual(299);
    expect(await scorer.score(says("after it"), live()), "another thread takes its place").toMatchObject({
      result: { score: 8 },
    });
  });

  it("that never comes back takes no other rule with it", async () => {
    const scorer = threads({ timeoutMs: 1_000, workers: 2 });
    const responses = ["loop", ...Array.from({ length: 40 }, (_, at) => "x".repeat(at)), "catastrophe"];
    const ends = await Promise.all(responses.map((response) => scorer.score(says(response), live())));
    expect(ends.map((end) => (end.kind === "result" ? end.result.score : end.kind))).toEqual([
      "timedOut",
      ...Array.from({ length: 40 }, (_, at) => at),
      "timedOut",
    ]);
  });

  it.each([
    ["throw", "failed", "the rule of reward.rules.module threw TypeError: no such thing"],
    ["exit", "failed", "the thread of the rule ended: it ended with exit code 3"],
    ["stray", "failed", "the thread of the rule ended: thrown later"],
    ["NaN", "invalid", "the rule of reward.rules.module gave NaN; expected a finite number"],
    ["text", "invalid", "the rule of reward.rules.module gave string; expected a finite number"],
    ["bad parts", "invalid", "the rule of reward.rules.module gave parts that are not finite numbers by name"],
  ])("that misbehaves (%s) is %s, not 0, and the next one is scored", async (response, kind, reason) => {
    const scorer = threads({ workers: 1 });
    expect(await scorer.score(says(response), live())).toMatchObject({
      kind,
      reason: expect.stringContaining(reason),
    });
    expect(await scorer.score(says("next"), live())).toMatchObject({ result: { score: 4 } });
  });

  it("ends with its caller: what runs is ended, what waits is left out", async () => {
    const scorer = threads({ workers: 1 });
    await scorer.connect();
    const [first, second] = [new AbortController(), new AbortController()];
    const ends = Promise.all([
      scorer.score(says("loop"), first.signal),
      scorer.score(says("waits"), second.signal),
      scorer.score(says("served"), live()),
    ]);
    second.abort();
    first.abort();
    expect(await ends).toMatchObject([
      { kind: "failed", reason: "the rule was cancelled" },
      { kind: "failed", reason: "the rule was cancelled" },
      { result: { score: 6 } },
    ]);
    expect(await scorer.score(says("x"), AbortSignal.abort())).toMatchObject({ reason: "the rule was cancelled" });
  });

  it("ends with its reward, whatever it does", async () => {
    const scorer = threads({ workers: 1 });
    const end = scorer.score(says("loop"), live());
    await scorer.connect();
    await scorer.dispose();
    expect(await end).toMatchObject({ kind: "failed", reason: "the rule was cancelled" });
  });
});

describe("a module that cannot be used", () => {
  it.each([
    ["absent.mjs", null, "Cannot find module"],
    ["syntax.mjs", "export default (", "Unexpected"],
    ["default.mjs", "export const rule = () => 1", "expected a function as its default export, got none"],
    ["throws.mjs", "throw new Error('at load')", "at load"],
    ["leaves.mjs", "process.exit(5)", "it ended with exit code 5"],
  ])("is refused by name: %s", async (name, text, reason) => {
    const path = text === null ? join(folder, name) : file(name, text);
    const scorer = threads({ module: path });
    const refused = expect.objectContaining({
      code: "WEIR_E_PART",
      message: expect.stringMatching(new RegExp(`${name}.*${reason}.*expected an ES module`, "s")),
    });
    await expect(scorer.connect()).rejects.toEqual(refused);
    await expect(scorer.score(says("x"), live())).rejects.toEqual(refused);
  });
});

describe("the reward of a configuration", () => {
  const task = exampleTask();
  const rewardOf = (reward: object): RewardActor => {
    const actor = createRuleReward(ruleRewardOptions(configSchema.shape.reward.parse(reward)));
    opened.push(actor);
    return actor;
  };

  it("reads workers, deadline and module", async () => {
    const actor = rewardOf({ rules: { module: ruleFile, workers: 1, timeoutMs: 250 } });
    expect(actor.kind).toBe("rule-module");
    const outcome = (text: string) => actor.handle({ task, rollout: exampleRollout(task, text) }, { signal: live() });
    expect(await outcome("four")).toEqual({ kind: "scored", value: 4, parts: { rule: 4 }, prediction: null });
    expect(await outcome("loop")).toMatchObject({ kind: "timedOut", afterMs: 250 });
  });

  it("runs the built-in rules without a module", async () => {
    const actor = rewardOf({});
    expect(actor.kind).toBe("rule");
    const rollout = exampleRollout(task, "<think>…</think> Therefore, the answer is Paris.<|im_end|>");
    expect(await actor.handle({ task, rollout }, { signal: live() })).toEqual({
      kind: "scored",
      value: 1,
      parts: { rule: 1 },
      prediction: "Paris",
    });
  });
});
