/** Jumps against the steps before: robust z-scores of metrics that have a level. */
import type { DetectionOptions, StepNumbers } from "../detection-options.js";
import { type Finding, finite, show } from "../finding.js";
import { type Deviation, deviationOf, type Histories, type Scale, type Scales } from "../history.js";
import type { MetricName } from "../metrics.js";

/** A metric that is watched for jumps upwards. */
interface Spike {
  readonly metric: MetricName;
  readonly rule: string;
  readonly level: Finding["level"];
  /** Smallest value that is worth an alarm, however steady the steps before were. */
  readonly from: number | ((options: DetectionOptions) => number);
  /** Share of the z-score asked for that is enough, where `from` rules noise out already; 1 if left out. */
  readonly ease?: number;
  /** Smallest change that is: a factor on a log scale, a difference on a linear one. */
  readonly change: number;
  /** Begins the text: `KL of the update`. */
  readonly name: string;
  readonly unit: string;
}

/**
 * Scales of the metrics that have a history. Norms and KL differ by factors from step to step, so they are judged by their
 * logarithms; 0.3 is a factor of 1.35.
 */
export const SCALES: Scales = {
  "kl/update": { kind: "log", least: 0.3 },
  "kl/old_k3": { kind: "log", least: 0.3 },
  "kl/ref": { kind: "log", least: 0.3 },
  "entropy/mean": { kind: "log", least: 0.1 },
  "gradient/norm": { kind: "log", least: 0.25 },
  "advantage/max_abs": { kind: "log", least: 0.2 },
  "optimiser/learning_rate": { kind: "log", least: 0.1 },
  "response/length_mean": { kind: "log", least: 0.1 },
  "response/truncated_share": { kind: "linear", least: 0.05 },
  "response/cut_short_share": { kind: "linear", least: 0.005 },
  "reward/unshaped_mean": { kind: "linear", least: 0.03 },
  "reward/rule_judge_agreement": { kind: "linear", least: 0.03 },
  "response/evidence_overlap": { kind: "linear", least: 0.03 },
  "ratio/max": { kind: "log", least: 0.3 },
  "group/stale_dropped_share": { kind: "linear", least: 0.05 },
  mismatch_abs: { kind: "log", least: 0.3 },
} satisfies { readonly [N in MetricName]?: Scale };

/**
 * A healthy step may turn one word of every response into another that serves as well: two certain tokens of 26 that become e⁻⁶ as
 * likely are 0.4 nats. Recorded: 0.23 within a step, with reward and entropy as before.
 */
const KL_FROM = 0.4;
/** Healthy KL differs by a factor of 2.6 (one standard deviation) from step to step, and is some 0.001 nats: 0.4 is six deviations. */
const KL_EASE = 0.75;

/**
 * Share of the limit that is worth an alarm. With bfloat16 one response may show 0.01 nats where the step before showed 0.0003: it depends
 * on how certain the policy was of its tokens.
 */
const MISMATCH_SHARE = 0.3;

const SPIKES: readonly Spike[] = [
  {
    ...{ metric: "kl/update", rule: "kl_spike", level: "warn", from: KL_FROM, change: 5, ease: KL_EASE },
    ...{ name: "the KL of the update", unit: " nats" },
  },
  {
    ...{ metric: "kl/old_k3", rule: "kl_spike", level: "warn", from: KL_FROM, change: 5, ease: KL_EASE },
    ...{ name: "the KL to the policy before the step", unit: " nats" },
  },
  // The policy moves away from the reference by design, so only a jump counts, not a level. Words that it turned into others show only in
  // the responses that have them, and the level is measured on a share of these: healthy steps go from 0.04 to 0.4, some to 0.85.
  {
    ...{ metric: "kl/ref", rule: "kl_spike", level: "warn", from: 2, change: 5 },
    ...{ name: "the KL to the reference policy", unit: " nats" },
  },
  {
    ...{ metric: "gradient/norm", rule: "gradient_spike", level: "warn", from: 0, change: 8 },
    ...{ name: "the gradient's norm", unit: "" },
  },
  {
    ...{ metric: "advantage/max_abs", rule: "advantage_spike", level: "warn", from: 5, change: 4 },
    ...{ name: "the largest advantage", unit: "" },
  },
  {
    ...{ metric: "optimiser/learning_rate", rule: "step_size", level: "warn", from: 0, change: 5 },
    ...{ name: "the learning rate", unit: "" },
  },
  {
    ...{ metric: "response/length_mean", rule: "length_explosion", level: "warn", from: 8, change: 2 },
    ...{ name: "the mean response length", unit: " tokens" },
  },
  {
    ...{ metric: "mismatch_abs", rule: "mismatch_spike", level: "warn", change: 5 },
    from: ({ mismatchLimit }) => MISMATCH_SHARE * mismatchLimit,
    ...{ name: "the difference between sampler and trainer log-probs", unit: " nats per token" },
  },
];

/** A z-score that counts twice as much near a border: the level may have moved for a good reason. */
const BORDER_FACTOR = 2;

/** Whether a deviation counts. */
export function standsOut({ z, border }: Deviation, limit: number): boolean {
  return Math.abs(z) >= (border ? BORDER_FACTOR : 1) * limit;
}

export function spikeFindings(step: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  return SPIKES.flatMap((spike) => {
    const { metric, rule, level, name, unit } = spike;
    const value = finite(step.values[metric]);
    // What is measured after the step says more than the KL within it.
    if (value === null || (metric === "kl/old_k3" && finite(step.values["kl/update"]) !== null)) return [];
    const deviation = deviationOf(histories, { phase: step.phase, metric, value }, SCALES, options.window);
    const threshold = (spike.ease ?? 1) * options.z;
    if (deviation === null || deviation.z < 0 || !standsOut(deviation, threshold)) return [];
    const from = typeof spike.from === "number" ? spike.from : spike.from(options);
    if (value < from || !changesEnough(spike, value, deviation.level)) return [];
    const text = `${name} is ${show(value)}${unit}, after ${show(deviation.level)}: robust z-score ${deviation.z.toFixed(1)}`;
    return [{ level, rule, metric, value, threshold, z: deviation.z, text, changed: true }];
  });
}

function changesEnough({ metric, change }: Spike, value: number, level: number): boolean {
  return SCALES[metric]?.kind === "log" ? value >= change * level : value - level >= change;
}
