import type { RewardOutcome } from "../../src/contracts/reward.js";
import type { Trace } from "../../src/contracts/trace.js";

/** A trace with float32-exact numbers, so that it survives storage bit for bit. */
export function sampleTrace(index: number, outcome: RewardOutcome): Trace {
  const scored = outcome.kind === "scored";
  return {
    id: `r${index}`,
    groupId: "g0",
    taskId: "musique:1:abcd",
    source: "musique",
    step: 3,
    phase: 1,
    sampleIndex: index,
    carried: index % 2 === 1,
    policyVersion: 2,
    lag: scored ? 1 : null,
    prompt: "<|im_start|>user\nDokument: Straße…",
    completion: "</think>\n\nTherefore, the answer is Peru.",
    goldAnswer: "Therefore, the answer is Peru.",
    outcome,
    reward: scored ? outcome.value : null,
    advantage: scored ? 0.5 : null,
    promptTokens: 12,
    tokens: Array.from({ length: index }, (_, t) => ({
      id: 100 + t,
      text: `ü${t}`,
      logprob: -0.5 - t,
      entropy: 0.25 * t,
      weight: scored ? 0.5 : null,
      advantage: scored ? 1.5 : null,
      ratio: scored ? 1.25 : null,
      klOld: scored ? 0.125 : null,
      klRef: scored ? 0.25 : null,
      lossShare: scored ? -0.5 : null,
    })),
    behaviours: [
      { behaviour: "grounding" as const, start: 0, end: 2 },
      { behaviour: "verification" as const, start: 1, end: index },
    ].slice(0, index),
    judgedBehaviours: scored ? { grounding: index, subgoal_setting: 0, backtracking: 0, verification: 2 } : null,
    finish: index === 0 ? "length" : "stop",
    time: 1_700_000_000_123,
  };
}

export const OUTCOMES: readonly RewardOutcome[] = [
  { kind: "scored", value: 1, parts: { rule: 1, judge: 0 }, prediction: "Peru" },
  { kind: "scored", value: 0, parts: {}, prediction: null },
  { kind: "abstained", reason: "no family" },
  { kind: "timedOut", afterMs: 30, reason: "slow" },
  { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" },
  { kind: "invalid", reason: "NaN" },
];
