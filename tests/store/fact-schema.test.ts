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

/** One fact of each kind, with every field. */
const EXAMPLES: { readonly [T in FactType]: Extract<Told, readonly [T, ...unknown[]]>[2] } = {
  "actor.changed": { actor: "rollout", state: "restarting", reason: "the sampler broke", restarts: 1 },
  "alert.raised": { alert: ALERT },
  "checkpoint.written": { step: 2, path: "checkpoints/step-00002" },
  "config.changed": { path: "loss.clipLow", old: null, new: 0.2 },
  "evaluation.finished": { stage: "rl", buckets: { "1-70": { n: 4, correct: 2, unscored: 1, meanReward: null } } },
  "guard.judged": { stage: "rl", miniBatch: 1, verdict: "skip", reason: "not finite", gradNorm: null, loss: 0.5 },
  "lifecycle.changed": { machine: "lifecycle", value: { operating: "training" } },
  "metrics.recorded": { phase: 1, values: { "reward/mean": 0.5, "custom/mine": 2 } },
  "part.replaced": { kind: "advantage", from: BUILT_IN, to: OWN },
  "phase.decided": { action: "advance", phase: 1, nextPhase: 2, reason: "done", evidence: { kl: null, steps: 3 } },
  "phase.entered": { k: 2, minTokens: 70, maxTokens: 300, fromStep: 3 },
  "preflight.finished": {
    rollouts: 16,
    truncatedShare: 0.5,
    zeroVarianceShare: 0.25,
    rewardHistogram: { "0": 9, "1": 7 },
    outcomes: { scored: 16 },
    tasksPerPhase: [12, 12],
    neverIssuedShare: 0.125,
    memory: "0.41 GiB planned",
    warnings: ["half were cut"],
  },
  "run.finished": { status: "failed", error: "WEIR_E_DISK: full" },
  "run.resumed": { ...RESUMED, checkpoint: "checkpoints/step-00002", remarks: ["a torn line"] },
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
