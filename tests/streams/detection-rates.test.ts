/** How often healthy runs raise alarms, and how soon faults do: over recorded runs, and over series with the noise of such runs. */
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { detectorOptions } from "../../src/actors/run/detector-options.js";
import { counterKey, uniform } from "../../src/algorithms/random.js";
import { parseConfig } from "../../src/config/load.js";
import { createDetector, type Observation } from "../../src/streams/telemetry/detector.js";
import type { MetricDraft, MetricValues } from "../../src/streams/telemetry/metrics.js";

const CONFIG = { model: { path: "model" }, data: { train: ["train.jsonl"] }, phases: [{ maxTokens: 300, steps: 10 }] };

interface RecordedRun {
  /** The command that recorded it. */
  readonly command: string;
  readonly precision: "float32" | "bfloat16";
  readonly steps: readonly { readonly phase: number; readonly values: MetricValues }[];
}

const FOLDER = resolve("tests/fixtures/healthy-runs");
const recorded = readdirSync(FOLDER).map((name): [string, RecordedRun] => [
  name,
  JSON.parse(readFileSync(resolve(FOLDER, name), "utf8")),
]);

/** Alarms that begin, as `step rule metric`. */
function alarmsOf(steps: RecordedRun["steps"], precision: RecordedRun["precision"] = "float32"): string[] {
  const detector = createDetector(detectorOptions(parseConfig({ ...CONFIG, engine: { precision } }), () => null));
  return steps.flatMap(({ phase, values }, index) => {
    const step = index + 1;
    const seen: Observation = {
      ...{ step, phase, policyVersion: step, time: 0, values, contributions: [], nonFinite: [], objections: [] },
      ...{ groups: [], idleSteps: 0, idleCause: null, correctAt: 1 },
    };
    return detector.observe(seen).raised.map(({ rule, metric }) => `${step} ${rule} ${metric}`);
  });
}

describe("recorded healthy runs", () => {
  it.each(recorded)("raise no alarm at default settings: %s", (_, { steps, precision }) => {
    expect(steps.length).toBeGreaterThanOrEqual(30);
    expect(alarmsOf(steps, precision)).toEqual([]);
  });
});

/** Noise of a seed: standard normal numbers, by step and name. */
function noiseOf(seed: number) {
  return (step: number, name: string): number => {
    const key = counterKey(seed, "noise", name);
    const [a, b] = [uniform(key, 2 * step), uniform(key, 2 * step + 1)];
    return Math.sqrt(-2 * Math.log(1 - a)) * Math.cos(2 * Math.PI * b);
  };
}

const clamp = (value: number) => Math.min(1, Math.max(0, value));

/** A healthy step with levels and noise as recorded: entropy and reward drift, KL and norms differ by factors. */
function healthyStep(seed: number, step: number): MetricDraft {
  const noise = noiseOf(seed);
  // A moving average: entropy and reward of one step resemble those of the steps before.
  const drift = (name: string) => [0, 1, 2, 3].reduce((sum, back) => sum + noise(step - back + 4, name), 0) / 2;
  const learnt = Math.min(1, step / 200);
  return {
    "kl/update": 0.0013 * Math.exp(0.95 * noise(step, "kl")),
    "kl/ref": 0.03 + 0.06 * learnt + 0.012 * noise(step, "ref"),
    "entropy/mean": (0.3 - 0.15 * learnt) * Math.exp(0.2 * drift("entropy")),
    "gradient/norm": 0.55 * Math.exp(0.25 * noise(step, "norm")),
    "advantage/max_abs": 2.47 - Math.abs(0.2 * noise(step, "advantage")),
    "optimiser/learning_rate": 3e-4,
    "response/length_mean": 26.5 * Math.exp(0.05 * noise(step, "length")),
    "response/truncated_share": clamp(0.03 * noise(step, "cut")),
    "response/cut_short_share": 0,
    "reward/unshaped_mean": clamp(0.3 + 0.35 * learnt + 0.1 * drift("reward")),
    "reward/rule_judge_agreement": clamp(0.92 + 0.03 * noise(step, "agreement")),
    "response/evidence_overlap": clamp(0.8 + 0.05 * noise(step, "evidence")),
    mismatch_abs: 1e-4 * Math.exp(0.8 * noise(step, "mismatch")),
    "ratio/max": 1 + Math.abs(0.05 * noise(step, "ratio")),
    "reward/invalid": 0,
    "group/stale_dropped_share": clamp(0.05 * noise(step, "stale")),
  };
}

describe("healthy series with the noise of recorded runs", () => {
  it("raise less than one alarm in 1,000 steps, phase borders included", () => {
    const [runs, length] = [50, 200];
    const alarms = Array.from({ length: runs }, (_, seed) =>
      alarmsOf(
        Array.from({ length }, (_, step) => ({ phase: 1 + Math.floor(step / 50), values: healthyStep(seed, step) })),
      ),
    ).flat();
    expect((1_000 * alarms.length) / (runs * length)).toBeLessThan(1);
  });
});

const FAULT_STEP = 40;
/** Seeds of each fault. */
const SEEDS = 30;

/** A fault: what it makes of a healthy step `since` steps after its begin (0 in its first), and the rules that find it. */
const FAULTS: readonly (readonly [string, (values: MetricDraft, since: number) => void, readonly string[], number])[] =
  [
    ["a rate of 100 times", (v) => scale(v, "optimiser/learning_rate", 100), ["step_size"], 0],
    ["a policy that the reference does not know any more", (v) => scale(v, "kl/ref", 150), ["kl_spike"], 5],
    ["steps that move the policy 300 times as far", (v) => scale(v, "kl/update", 300), ["kl_spike", "kl_limit"], 5],
    ["advantages of 1,000 times", (v) => scale(v, "advantage/max_abs", 1_000), ["advantage_limit"], 0],
    ["gradients of 100 times", (v) => scale(v, "gradient/norm", 100), ["gradient_spike"], 0],
    ["a sampler with other weights", (v) => put(v, "mismatch_abs", 0.4), ["mismatch"], 0],
    ["a temperature of 3", (v) => put(v, "entropy/mean", 2.5), ["entropy_divergence"], 0],
    [
      "a judge that says yes to everything",
      (v) => {
        put(v, "reward/unshaped_mean", 1);
        put(v, "reward/rule_judge_agreement", 0.5);
      },
      ["reward_hacking"],
      0,
    ],
    [
      "answers that need their evidence less from step to step",
      (v, since) => {
        put(v, "reward/unshaped_mean", clamp((v["reward/unshaped_mean"] ?? 0) + 0.02 * since));
        scale(v, "response/evidence_overlap", 0.95 ** since);
      },
      ["reward_hacking"],
      25,
    ],
    ["a reward that is no number", (v) => put(v, "reward/invalid", 3), ["reward_invalid"], 0],
    ["responses that are all cut off", (v) => put(v, "response/truncated_share", 1), ["all_truncated"], 0],
    ["responses that a sampler cuts short", (v) => put(v, "response/cut_short_share", 0.7), ["cut_short"], 0],
    ["a flood of old groups", (v) => put(v, "group/stale_dropped_share", 0.8), ["stale_flood"], 0],
    [
      "entropy that falls by 15 % a step",
      (v, since) => scale(v, "entropy/mean", 0.85 ** (since + 1)),
      ["entropy_collapse", "entropy_spike"],
      20,
    ],
  ];

function put(values: MetricDraft, name: string, value: number) {
  (values as Record<string, number>)[name] = value;
}

function scale(values: MetricDraft, name: string, factor: number) {
  const record = values as Record<string, number>;
  record[name] = factor * (record[name] ?? 0);
}

describe("faults in such series", () => {
  it.each(FAULTS)("%s is found in every seed, in time", (_, inject, rules, most) => {
    const delays = Array.from({ length: SEEDS }, (_, seed) => {
      const steps = Array.from({ length: FAULT_STEP + 40 }, (_, step) => {
        const values = healthyStep(seed + 1_000, step);
        if (step >= FAULT_STEP) inject(values, step - FAULT_STEP);
        return { phase: 1, values };
      });
      const found = alarmsOf(steps).flatMap((alarm) => {
        const [step, rule] = alarm.split(" ");
        return rules.includes(rule as string) ? [Number(step) - 1 - FAULT_STEP] : [];
      });
      return found.find((delay) => delay >= 0) ?? Number.POSITIVE_INFINITY;
    });
    expect(Math.max(...delays)).toBeLessThanOrEqual(most);
  });
});
