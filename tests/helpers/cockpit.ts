/** A run in a hub as a cockpit shows it: a spike with culprits, what the guard did of it, a rollback, turned knobs. */
import { MonitorHub } from "../../monitor/server/index.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { KnobState } from "../../src/contracts/knob.js";
import type { MetricValues } from "../../src/contracts/metrics.js";
import type { Trace } from "../../src/contracts/trace.js";
import { factOf, STARTED, type Told } from "./facts.js";

export const START_MS = 1_767_225_600_000;
/** Time between two facts, ms. */
const STEP_MS = 4_000;

export const LEARNING_RATE: KnobState = {
  path: "optimiser.learningRate",
  value: 0.001,
  configured: 0.001,
  min: 0,
  max: 1,
  integer: false,
  unit: "",
  meaning: "Peak learning rate; the schedule's factor still applies.",
};

export const KNOBS: readonly KnobState[] = [
  {
    ...LEARNING_RATE,
    path: "rollout.groupSize",
    value: 8,
    configured: 8,
    min: 1,
    max: 1_024,
    integer: true,
    unit: "responses",
  },
  {
    ...LEARNING_RATE,
    path: "rollout.temperature",
    value: 1,
    configured: 1,
    min: 0.01,
    max: 10,
    meaning: "Sampling temperature.",
  },
  { ...LEARNING_RATE, path: "loss.clipHigh", value: null, configured: null, max: 100, meaning: "ε_high of the loss." },
  LEARNING_RATE,
];

/** The alarm of step 14: its top culprit is sample 1 of the first group, most at token 5. */
export const SPIKE: Alert = {
  id: "14-kl_limit-kl/update",
  level: "error",
  rule: "kl_limit",
  metric: "kl/update" as Alert["metric"],
  value: 0.62,
  threshold: 0.05,
  z: null,
  step: 14,
  phase: 2,
  policyVersion: 13,
  text: "the update moves the policy by 0.62 nats per token, the limit is 0.05",
  culprits: [
    { rolloutId: "s14-q0-g1", contribution: 0.41, tokenIndex: 5 },
    { rolloutId: "s14-q0-g3", contribution: 0.12, tokenIndex: 2 },
    { rolloutId: "s14-q1-g0", contribution: 0.05, tokenIndex: 7 },
    { rolloutId: "s14-q1-g2", contribution: 0.02, tokenIndex: 1 },
  ],
  time: START_MS + 14 * STEP_MS,
};

const WORDS = ["<think>", "The", " treaty", " was", " signed", " in", " Lisbon", ".", "</think>", " Lisbon"];

/** A rollout with every number per token; `hot` is the token that its KL comes from. */
export function measuredTrace(step: number, question: number, sample: number, hot: number): Trace {
  const advantage = sample === 1 ? 1.4 : -0.5 + 0.1 * sample;
  return {
    id: `s${step}-q${question}-g${sample}`,
    groupId: `s${step}-q${question}`,
    taskId: `task-${step}-${question}`,
    source: "synthetic_multihop",
    step,
    phase: step < 9 ? 1 : 2,
    sampleIndex: sample,
    carried: false,
    policyVersion: step - 1,
    lag: 0,
    prompt: "Document 3: … The treaty was signed in Lisbon in 1843. … In which city was the treaty signed?",
    completion: WORDS.join(""),
    goldAnswer: "Therefore, the answer is Lisbon.",
    outcome: {
      kind: "scored",
      value: sample === 1 ? 1 : 0,
      parts: { rule: sample === 1 ? 1 : 0 },
      prediction: "Lisbon",
    },
    reward: sample === 1 ? 1 : 0,
    advantage,
    promptTokens: 812,
    tokens: WORDS.map((text, i) => ({
      id: 100 + i,
      text,
      logprob: -0.1 - 0.25 * ((i * 7) % 10),
      entropy: 0.2 + 0.2 * ((i * 3) % 9),
      weight: null,
      advantage,
      ratio: i === hot ? 1.62 : 1 + 0.02 * (((i * 5) % 7) - 3),
      klOld: i === hot ? 0.31 : 0.002 * i,
      klRef: 0.01 + 0.004 * ((i * 5) % 9),
      lossShare: (i === hot ? 0.021 : 0.001) * Math.sign(advantage),
    })),
    behaviours: [
      { behaviour: "grounding", start: 1, end: 3 },
      { behaviour: "verification", start: 2, end: 5 },
      { behaviour: "grounding", start: 6, end: 7 },
    ],
    judgedBehaviours: sample === 1 ? { grounding: 3, subgoal_setting: 0, backtracking: 0, verification: 1 } : null,
    finish: "stop",
    time: START_MS + step * STEP_MS + question * 10 + sample,
  };
}

/** Metrics of a step of a run that learns, with some noise. */
export function valuesOf(step: number, spike = false): MetricValues {
  const noise = (k: number) => 0.03 * Math.sin(step * 12.9 + k * 4.1);
  return {
    "reward/mean": 0.25 + 0.02 * step + noise(1),
    "reward/std": 0.2,
    [`accuracy/bucket_${step < 9 ? 1 : 2}`]: 0.3 + 0.02 * step + noise(2),
    "kl/old_k3": spike ? 0.7 : 0.004 + Math.abs(noise(3)) / 10,
    "kl/update": spike ? 0.62 : 0.006 + Math.abs(noise(4)) / 10,
    "kl/ref": 0.002 * step,
    "entropy/mean": 1.1 - 0.02 * step + noise(5),
    "clip/fraction": 0.02 + Math.abs(noise(6)) / 5,
    "response/length_mean": 40 + step,
    "gradient/norm": spike ? 9 : 1 + noise(7),
    "time/step_seconds": 4,
  } as MetricValues;
}

/** The run up to step 20: a spike at 14, a rollback from 15 to 12, two turned knobs, an alarm that has ended. */
export function cockpitRun(): { readonly hub: MonitorHub; tell(...line: Told): void } {
  const hub = new MonitorHub();
  let seq = 0;
  let now = START_MS;
  const tell = (...line: Told) => hub.publishFact(factOf(++seq, line, now));
  hub.publishRun({ id: "cockpit" });
  hub.publishKnobs(KNOBS);
  hub.publishConfig({ run: { seed: 7 }, optimiser: { learningRate: 0.001 }, phases: [{ steps: 20 }, { steps: 20 }] });
  tell("run.started", 0, { ...STARTED, plannedSteps: 40 });
  tell("lifecycle.changed", 0, { machine: "lifecycle", value: { operating: "training" } });
  let undone = false;
  const step = (n: number, spike = false) => {
    now += STEP_MS;
    if (n === 1) tell("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 1_024, fromStep: 1 });
    if (n === 9) tell("phase.entered", 9, { k: 2, minTokens: 1_024, maxTokens: 4_096, fromStep: 9 });
    if (n === 10) tell("checkpoint.written", 10, { step: 10, path: "checkpoints/step-00010" });
    tell("metrics.recorded", n, { phase: n < 9 ? 1 : 2, values: valuesOf(n, spike) });
    // What is drawn again after a rollback has names of its own.
    for (const question of undone ? [2, 3] : [0, 1])
      for (const sample of [0, 1, 2, 3])
        hub.publishTrace(measuredTrace(n, question, sample, spike && sample === 1 ? 5 : -1));
  };
  for (let n = 1; n <= 13; n++) step(n);
  const shrunk = { stage: "rl", miniBatch: 0, gradNorm: 2.4, loss: 0.02, kl: 0.08 } as const;
  tell("guard.judged", 13, {
    ...shrunk,
    verdict: "shrink",
    reason: "KL 0.08 nats, limit 0.05",
    rule: "kl_limit",
    scale: 0.79,
  });
  const by = { kind: "operator", name: "operator at 127.0.0.1" } as const;
  tell("knob.turned", 13, { path: LEARNING_RATE.path, old: 0.001, new: 0.002, by, reason: "too slow" });
  step(14, true);
  tell("alert.raised", 14, { alert: { ...SPIKE, time: now } });
  tell("batch.saved", 14, { path: "batches/step-14-0", miniBatch: 0, reason: "kl_limit", replayable: true });
  step(15, true);
  const { id, rule, metric } = SPIKE;
  tell("alert.updated", 15, { id, rule, metric, value: 0.71, worst: 0.71, steps: 2 });
  const guard = { kind: "guard", name: "kl_limit" } as const;
  tell("guard.judged", 16, {
    ...shrunk,
    verdict: "rollback",
    kl: 0.9,
    scale: null,
    reason: "KL 0.9 nats, limit 0.05",
    rule: "kl_limit",
  });
  tell("run.rolledBack", 16, {
    fromStep: 16,
    toStep: 12,
    reason: "KL 0.9 nats, limit 0.05",
    rule,
    by: guard,
    undone: 24,
    count: 1,
  });
  tell("knob.turned", 12, {
    path: LEARNING_RATE.path,
    old: 0.002,
    new: 0.0005,
    by: guard,
    reason: "after a rollback: × 0.5",
  });
  undone = true;
  for (let n = 13; n <= 20; n++) step(n);
  tell("alert.ended", 16, { id, rule, metric, fromStep: 14, toStep: 16, worst: 0.9 });
  tell("alert.raised", 19, {
    alert: {
      ...SPIKE,
      id: "19-truncation",
      rule: "truncation",
      metric: "response/truncated_share",
      level: "warn",
      step: 19,
      value: 0.4,
      threshold: 0.25,
      text: "40 % of the responses were cut",
      culprits: [],
      time: now,
    },
  });
  hub.publishPipeline([
    { name: "rollouts", bound: 8, depth: 5, highWater: 8, waitingProducers: 1, waitingConsumers: 0, passed: 40 },
  ]);
  return { hub, tell };
}
