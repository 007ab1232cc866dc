import { describe, expect, it } from "vitest";
import type { FactType } from "../../src/contracts/fact.js";
import { readFactLine } from "../../src/store/fact-schema.js";
import { COMMITTED, RESUMED, STARTED, type Told } from "../helpers/facts.js";

const line = (type: string, data: unknown, over: object = {}) =>
  JSON.stringify({ schema_version: 1, seq: 3, type, step: 2, time: 1_000, data, ...over });

const ALERT = {
  id: "2-mismatch",
  level: "error",
  rule: "mismatch",
  metric: "mismatch_abs",
  value: 0.25,
  threshold: 0.01,
  z: null,
  step: 2,
  phase: 1,
  policyVersion: 2,
  text: "sampler and trainer differ",
  culprits: [{ rolloutId: "s2-q0-g1", contribution: 1.5, tokenIndex: 4 }],
  time: 1_000,
} as const;

const BUILT_IN = { kind: "grpo", source: "built-in" } as const;
const OWN = { kind: "mine", source: "own", file: { file: "parts.ts", sha256: "ab" } } as const;

const OPERATOR = { kind: "operator", name: "operator at 127.0.0.1" } as const;
const RULE = { rule: "kl_limit", scale: null, kl: 0.5 } as const;

/** One fact of each kind, with every field. */
const EXAMPLES: { readonly [T in FactType]: Extract<Told, readonly [T, ...unknown[]]>[2] } = {
  "actor.changed": { actor: "rollout", state: "restarting", reason: "the sampler broke", restarts: 1 },
  "admission.held": { part: "hybrid", code: "WEIR_E_JUDGE", reason: "no answer; tried again in 10 s" },
  "admission.resumed": { part: "hybrid", heldSeconds: 61.5 },
  "alert.ended": { id: "2-mismatch", rule: "mismatch", metric: "mismatch_abs", fromStep: 2, toStep: 4, worst: 0.5 },
  "alert.raised": { alert: ALERT },
  "alert.updated": { id: "2-mismatch", rule: "mismatch", metric: "mismatch_abs", value: null, worst: 0.5, steps: 3 },
  "batch.saved": { path: "batches/step-00002-1", miniBatch: 0, reason: "not finite", replayable: true },
  "checkpoint.written": { step: 2, path: "checkpoints/step-00002" },
  "config.changed": { path: "loss.clipLow", old: null, new: 0.2 },
  "evaluation.finished": { stage: "rl", buckets: { "1-70": { n: 4, correct: 2, unscored: 1, meanReward: null } } },
  "guard.judged": {
    stage: "rl",
    miniBatch: 1,
    verdict: "skip",
    reason: "not finite",
    gradNorm: null,
    loss: 0.5,
    ...RULE,
  },
  "guard.prepared": { maskNegatives: true, entropyCoefficient: null, reason: "entropy is above 0.3 nats" },
  "knob.turned": { path: "optimiser.learningRate", old: 0.1, new: 0.05, by: OPERATOR, reason: null },
  "lifecycle.changed": { machine: "lifecycle", value: { operating: "training" } },
  "metrics.recorded": { phase: 1, values: { "reward/mean": 0.5, "custom/mine": 2 } },
  "trainer.called": { model: "model_1", number: 3, call: "optim_step", sha256: "ab" },
  "part.replaced": { kind: "advantage", from: BUILT_IN, to: OWN },
  "phase.decided": { action: "advance", phase: 1, nextPhase: 2, reason: "done", evidence: { kl: null, steps: 3 } },
  "phase.entered": { k: 2, minTokens: 70, maxTokens: 300, fromStep: 3 },
  "phase.skipped": { phase: 1, by: OPERATOR, reason: "long enough" },
  "preflight.finished": {
    rollouts: 16,
    truncatedShare: 0.5,
    zeroVarianceShare: 0.25,
    rewardHistogram: { "0": 9, "1": 7 },
    outcomes: { scored: 16 },
    tasksPerPhase: [12, 12],
    neverIssuedShare: 0.125,
    memory: "0.41 GiB planned",
    warnings: ["half were cut; raise rollout.maxTokens"],
    findings: [
      { cause: "truncated_responses", refuses: false, what: "half were cut", remedy: "raise rollout.maxTokens" },
    ],
  },
  "run.finished": { status: "failed", error: "WEIR_E_DISK: full" },
  "run.resumed": { ...RESUMED, checkpoint: "checkpoints/step-00002", remarks: ["a torn line"] },
  "run.rolledBack": {
    ...{ fromStep: 9, toStep: 7, reason: "KL of 3 nats", rule: "kl_limit", by: OPERATOR, undone: 32, count: 1 },
  },
  "run.started": {
    ...STARTED,
    parts: { advantage: BUILT_IN, reward: OWN, curriculum: BUILT_IN, loss: BUILT_IN, files: [OWN.file] },
  },
  "step.committed": COMMITTED,
  "warmup.finished": { steps: 8, loss: 1.25 },
};

describe("a line of the journal", () => {
  it.each(Object.entries(EXAMPLES))("of kind %s is read as it was written", (type, data) => {
    expect(readFactLine(line(type, data))).toEqual({
      whole: true,
      seq: 3,
      fact: { schema_version: 1, seq: 3, type, step: 2, time: 1_000, data },
    });
  });

  it.each(Object.keys(EXAMPLES))("of kind %s with wrong data is damaged, and says which", (type) => {
    expect(readFactLine(line(type, {}))).toEqual({
      whole: false,
      legible: true,
      reason: expect.stringMatching(new RegExp(`^it is no whole fact "${type.replace(".", "\\.")}": data\\.\\w+: `)),
    });
  });

  it("of a kind that only a newer build knows is passed over, with its number", () => {
    expect(readFactLine(line("moon.risen", { phase: "full" }))).toEqual({ whole: true, seq: 3, fact: null });
    expect(readFactLine(line("toString", {}))).toEqual({ whole: true, seq: 3, fact: null });
  });

  it.each([
    ["cut short", line("step.committed", COMMITTED).slice(0, 40)],
    ["of another schema", line("step.committed", COMMITTED, { schema_version: 2 })],
    ["without a number", line("step.committed", COMMITTED, { seq: 0 })],
    ["without a time", line("step.committed", COMMITTED, { time: null })],
    ["with a list for data", line("step.committed", [])],
    ["that is a number", "3"],
  ])("%s is not a fact", (_, text) => {
    expect(readFactLine(text)).toEqual({ whole: false, legible: false, reason: "it is not a fact" });
  });

  it("leaves out what a newer build added to a kind", () => {
    const read = readFactLine(line("checkpoint.written", { step: 2, path: "p", bytes: 9 }));
    expect(read).toMatchObject({ fact: { data: { step: 2, path: "p" } } });
    expect(JSON.stringify(read)).not.toContain("bytes");
  });

  it("of the first builds has what they did not write filled in with what stands for not known", () => {
    const { parts: _, ...started } = STARTED;
    expect(readFactLine(line("run.started", started))).toMatchObject({ fact: { data: { parts: null } } });
    expect(
      readFactLine(line("evaluation.finished", { stage: "rl", buckets: { "1-70": { n: 4, correct: 2 } } })),
    ).toMatchObject({ fact: { data: { buckets: { "1-70": { n: 4, correct: 2, unscored: 0, meanReward: null } } } } });
    expect(readFactLine(line("run.resumed", { reason: "by hand", step: 2 }))).toMatchObject({
      fact: { data: { reason: "by hand", checkpoint: null, step: 2, remarks: [] } },
    });
  });

  it("with a number that was not finite is whole: JSON has null there", () => {
    const alert = JSON.parse(JSON.stringify({ ...ALERT, value: Number.NaN }));
    expect(readFactLine(line("alert.raised", { alert }))).toMatchObject({
      fact: { data: { alert: { value: Number.NaN } } },
    });
  });
});
