/** Entropy that collapses, blows up or jumps. */
import { mean } from "../../../algorithms/statistics.js";
import type { DetectionOptions, StepNumbers } from "../detection-options.js";
import { type Finding, finite, show } from "../finding.js";
import { deviationOf, type Histories, lastOf } from "../history.js";
import type { MetricName } from "../metrics.js";
import { SCALES, standsOut } from "./spikes.js";

const METRIC = "entropy/mean" satisfies MetricName;
const REWARD = "reward/unshaped_mean" satisfies MetricName;

/** Accuracy from which little entropy is no fault: a policy that is right may be certain. */
const SOLVED = 0.9;
/** Entropy times this within a step is a blow-up, where it also grows by `BLOW_UP_NATS`. */
const BLOW_UP = 2;
const BLOW_UP_NATS = 0.5;
/** The same for entropy that varied so much before that its z-score says little. */
const BLOW_UP_ANYHOW = 4;
/** Smallest jump of entropy that is worth an alarm, nats and as a share of its level. */
const JUMP_NATS = 0.1;
const JUMP_SHARE = 0.5;
/** Rise of the reward, over the last three steps, that explains a fall of entropy: the policy has found out what is right. */
const LEARNT = 0.15;
/** Steps that a collapse is looked for over. */
const COLLAPSE_STEPS = 12;
/** Share of the entropy at their begin below which it has collapsed, where the reward has not risen by `REWARD_RISE`. */
const COLLAPSE_SHARE = 0.3;
const REWARD_RISE = 0.05;

export function entropyFindings(step: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  const value = finite(step.values[METRIC]);
  if (value === null) return [];
  const found = limits(step, value, histories, options) ?? blowUp(step, value, histories, options);
  if (found !== null) return [found];
  return [collapse(step, value, histories) ?? jump(step, value, histories, options)].flatMap((one) => one ?? []);
}

const solved = ({ values }: StepNumbers) => (values["accuracy/mean"] ?? 0) >= SOLVED;

function limits(
  step: StepNumbers,
  value: number,
  histories: Histories,
  { entropyLow, entropyHigh, window }: DetectionOptions,
): Finding | null {
  const before = deviationOf(histories, { phase: step.phase, metric: METRIC, value }, SCALES, window);
  const base = { level: "error", metric: METRIC, value, z: null } as const;
  if (value < entropyLow && !solved(step)) {
    const text = `entropy is ${show(value)} nats, below ${entropyLow}: the policy has collapsed`;
    return {
      ...base,
      rule: "entropy_collapse",
      threshold: entropyLow,
      text,
      smallestFirst: true,
      changed: (before?.level ?? 0) >= entropyLow,
    };
  }
  if (value <= entropyHigh) return null;
  const text = `entropy is ${show(value)} nats, above ${entropyHigh}: the policy is diverging`;
  return {
    ...base,
    rule: "entropy_divergence",
    threshold: entropyHigh,
    text,
    changed: before !== null && before.level <= entropyHigh,
  };
}

function blowUp(step: StepNumbers, value: number, histories: Histories, options: DetectionOptions): Finding | null {
  const deviation = deviationOf(histories, { phase: step.phase, metric: METRIC, value }, SCALES, options.window);
  if (deviation === null) return null;
  const { level, z, border } = deviation;
  const factor = standsOut(deviation, options.z) ? BLOW_UP : (border ? 2 : 1) * BLOW_UP_ANYHOW;
  if (value < factor * level || value - level < BLOW_UP_NATS) return null;
  const threshold = Math.max(factor * level, level + BLOW_UP_NATS);
  const text = `entropy is ${show(value)} nats, after ${show(level)}: the policy is diverging`;
  return { level: "error", rule: "entropy_divergence", metric: METRIC, value, threshold, z, text, changed: true };
}

/** A fall over some steps that no rise of the reward goes with. */
function collapse(step: StepNumbers, value: number, histories: Histories): Finding | null {
  const before = lastOf(histories, METRIC, SCALES, COLLAPSE_STEPS);
  const rewards = lastOf(histories, REWARD, SCALES, COLLAPSE_STEPS);
  const reward = finite(step.values[REWARD]);
  if (before === null || rewards === null || reward === null || solved(step)) return null;
  const half = COLLAPSE_STEPS / 2;
  const threshold = COLLAPSE_SHARE * mean(before.slice(0, half));
  const rise = mean([...rewards.slice(-2), reward]) - mean(rewards.slice(0, half));
  if (value >= threshold || rise >= REWARD_RISE) return null;
  const text = `entropy has fallen to ${show(value)} nats from ${show(threshold / COLLAPSE_SHARE)} within ${COLLAPSE_STEPS} steps, and the reward has not risen: the policy is collapsing`;
  const base = { level: "error", rule: "entropy_collapse", metric: METRIC } as const;
  return { ...base, value, threshold, z: null, text, smallestFirst: true, changed: true };
}

function jump(step: StepNumbers, value: number, histories: Histories, options: DetectionOptions): Finding | null {
  const deviation = deviationOf(histories, { phase: step.phase, metric: METRIC, value }, SCALES, options.window);
  if (deviation === null || !standsOut(deviation, options.z)) return null;
  const { level, z } = deviation;
  if (Math.abs(value - level) < Math.max(JUMP_NATS, JUMP_SHARE * level)) return null;
  if (z < 0 && hasLearnt(step, histories, options)) return null;
  const text = `entropy is ${show(value)} nats, after ${show(level)}: robust z-score ${z.toFixed(1)}`;
  const base = { level: "warn", rule: "entropy_spike", metric: METRIC } as const;
  return { ...base, value, threshold: options.z, z, text, smallestFirst: z < 0, changed: true };
}

function hasLearnt({ phase, values }: StepNumbers, histories: Histories, { window }: DetectionOptions): boolean {
  const reward = finite(values[REWARD]);
  const before = lastOf(histories, REWARD, SCALES, 2);
  if (reward === null || before === null) return false;
  const value = mean([...before, reward]);
  const deviation = deviationOf(histories, { phase, metric: REWARD, value }, SCALES, window);
  return deviation !== null && value - deviation.level >= LEARNT;
}
