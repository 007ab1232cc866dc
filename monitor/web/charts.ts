import { METRICS, type MetricName } from "../../src/streams/telemetry/metrics.js";

/** The board: which metrics are drawn where, in which order. The only place of the page that names metrics. */

export interface SeriesSpec {
  /** A registered name, or one that a part published. */
  readonly metric: MetricName;
  readonly label: string;
  /** Index into the palette. */
  readonly colour: number;
  /** Sparse measurements: points joined by a dashed line, never smoothed. */
  readonly sparse?: boolean;
  /** A band of mean ± this metric around the line. */
  readonly spread?: MetricName;
}

export interface ChartSpec {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  /** Fixed bounds of y, where they mean something. */
  readonly range?: readonly [number, number];
  readonly log?: boolean;
  /** Which records: those of RL steps or those of the warm-up. */
  readonly track: "training" | "warmup";
  readonly series: readonly SeriesSpec[];
  /** Only where there is something to draw: not every run measures it. */
  readonly optional?: boolean;
  /** The metric of a chart that shows only this one; it can be pinned to the board. */
  readonly single?: MetricName;
}

/** Buckets that get a colour of their own; further ones repeat them. */
const MAX_BUCKETS = 8;

const REWARD: ChartSpec = {
  id: "reward",
  title: "Reward",
  unit: "",
  track: "training",
  series: [
    { metric: "reward/mean", label: "mean ± std", colour: 0, spread: "reward/std" },
    { metric: "reward/unshaped_mean", label: "before length shaping", colour: 6 },
  ],
};

/** Charts that are the same for every run, in the order of the board. */
const FIXED: readonly ChartSpec[] = [
  {
    id: "kl",
    title: "KL",
    unit: "nats",
    track: "training",
    series: [
      { metric: "kl/update", label: "update ± se", colour: 0, spread: "kl/update_se" },
      { metric: "kl/old_k3", label: "old", colour: 1 },
      { metric: "kl/ref", label: "reference", colour: 2 },
      { metric: "mismatch_kl", label: "mismatch", colour: 3 },
    ],
  },
  {
    id: "entropy",
    title: "Entropy",
    unit: "nats",
    track: "training",
    series: [
      { metric: "entropy/mean", label: "mean", colour: 2 },
      { metric: "entropy/first_quarter", label: "first quarter", colour: 5 },
      { metric: "entropy/last_quarter", label: "last", colour: 6 },
    ],
  },
  {
    id: "clip",
    title: "Clip fraction",
    unit: "",
    track: "training",
    series: [
      { metric: "clip/fraction", label: "clipped", colour: 1 },
      { metric: "clip/fraction_low", label: "low", colour: 0 },
      { metric: "clip/fraction_high", label: "high", colour: 2 },
      { metric: "clip/fraction_lower", label: "dual clip", colour: 4 },
    ],
  },
  {
    id: "ratio",
    title: "Ratio π/π old",
    unit: "",
    track: "training",
    optional: true,
    series: [
      { metric: "ratio/p01", label: "p1", colour: 5 },
      { metric: "ratio/p99", label: "p99", colour: 1 },
      { metric: "ratio/max", label: "max", colour: 3 },
    ],
  },
  {
    id: "length",
    title: "Response length",
    unit: "tokens",
    track: "training",
    series: [
      { metric: "response/length_mean", label: "mean", colour: 0 },
      { metric: "response/length_p95", label: "p95", colour: 5 },
    ],
  },
  {
    id: "gradient",
    title: "Gradient norm",
    unit: "",
    track: "training",
    series: [{ metric: "gradient/norm", label: "before clipping", colour: 3 }],
  },
  {
    id: "learning-rate",
    title: "Learning rate",
    unit: "",
    track: "training",
    optional: true,
    series: [{ metric: "optimiser/learning_rate", label: "last optimiser step", colour: 4 }],
  },
  {
    id: "copying",
    title: "Copying and agreement",
    unit: "",
    range: [0, 1],
    track: "training",
    optional: true,
    series: [
      { metric: "response/ngram_overlap", label: "of the document", colour: 1 },
      { metric: "response/evidence_overlap", label: "of the evidence", colour: 2 },
      { metric: "response/distractor_copied", label: "from distractors", colour: 3 },
      { metric: "reward/rule_judge_agreement", label: "rule and judge agree", colour: 4 },
    ],
  },
  {
    id: "behaviours",
    title: "Behaviours per response",
    unit: "",
    track: "training",
    optional: true,
    series: [
      { metric: "behaviour/grounding_per_response", label: "grounding", colour: 2 },
      { metric: "behaviour/subgoal_setting_per_response", label: "subgoals", colour: 0 },
      { metric: "behaviour/backtracking_per_response", label: "backtracking", colour: 3 },
      { metric: "behaviour/verification_per_response", label: "verification", colour: 4 },
    ],
  },
  {
    id: "groups",
    title: "Shares",
    unit: "",
    range: [0, 1],
    track: "training",
    series: [
      { metric: "group/zero_variance_share", label: "zero variance", colour: 3 },
      { metric: "group/carried_share", label: "carried", colour: 4 },
      { metric: "response/truncated_share", label: "truncated", colour: 1 },
      { metric: "advantage/negative_token_share", label: "negative advantage", colour: 0 },
      { metric: "ratio/effective_share", label: "effective", colour: 2 },
    ],
  },
  {
    id: "throughput",
    title: "Throughput",
    unit: "tokens/s",
    track: "training",
    series: [
      { metric: "throughput/sampled_tokens_per_second", label: "sampled", colour: 2 },
      { metric: "throughput/trained_tokens_per_second", label: "trained", colour: 0 },
    ],
  },
  {
    id: "time",
    title: "Step time",
    unit: "s",
    track: "training",
    series: [
      { metric: "time/step_seconds", label: "step", colour: 0 },
      { metric: "time/sample_seconds", label: "sample", colour: 2 },
      { metric: "time/train_seconds", label: "train", colour: 1 },
    ],
  },
  {
    id: "warmup",
    title: "Warm-up loss",
    unit: "nats",
    track: "warmup",
    series: [{ metric: "loss/sft", label: "SFT", colour: 4 }],
  },
  {
    id: "memory",
    title: "Memory",
    unit: "bytes",
    track: "training",
    series: [
      { metric: "engine/rss_bytes", label: "engine", colour: 5 },
      { metric: "control/rss_bytes", label: "control", colour: 2 },
    ],
  },
];

/** The charts, given the length buckets of the run (upper bounds in tokens). */
export function chartSpecs(buckets: readonly { readonly k: number; readonly label: string }[]): readonly ChartSpec[] {
  const shown = buckets.slice(0, MAX_BUCKETS);
  const accuracy: ChartSpec = {
    id: "accuracy",
    title: "Accuracy by length",
    unit: "",
    range: [0, 1],
    track: "training",
    series: [
      ...shown.map(
        ({ k, label }): SeriesSpec => ({
          metric: `accuracy/bucket_${k}` satisfies MetricName,
          label,
          colour: k - 1,
        }),
      ),
      ...shown.map(
        ({ k, label }): SeriesSpec => ({
          metric: `heldout/bucket_${k}` satisfies MetricName,
          label: `held-out ${label}`,
          colour: k - 1,
          sparse: true,
        }),
      ),
    ],
  };
  return [REWARD, accuracy, ...FIXED];
}

/** A score of a benchmark that the chart shows, and what else is told of one. */
const BENCHMARK = /^eval\/(.+)\/(score|pass_at_(\d+)|score_over_all|unscored_share)$/;

/** One chart for the scores of all benchmarks, where there are some; other results of theirs are found by name. */
export function benchmarkCharts(names: readonly MetricName[]): readonly ChartSpec[] {
  const scores = names.flatMap((metric) => {
    const [, name = "", result = "", k] = BENCHMARK.exec(metric) ?? [];
    return result === "score" || k !== undefined ? [{ metric, name, k: Number(k ?? 1) }] : [];
  });
  const benchmarks = [...new Set(scores.map(({ name }) => name))].sort();
  const series = scores
    .sort((a, b) => benchmarks.indexOf(a.name) - benchmarks.indexOf(b.name) || a.k - b.k)
    .map(({ metric, name, k }): SeriesSpec => {
      const label = k > 1 ? `${name} pass@${k}` : name;
      return { metric, label, colour: benchmarks.indexOf(name), sparse: true };
    });
  if (series.length === 0) return [];
  return [{ id: "benchmarks", title: "Benchmarks", unit: "", track: "training", series }];
}

/** Custom metrics that get a chart; further ones are available through `weir monitor tail` or a program. */
const MAX_OWN = 40;

const REGISTERED: ReadonlySet<string> = new Set(METRICS.map((metric) => metric.name));
/** Listed in the registry, with or without the number of a length bucket; names that parts chose are not. */
const isSpeltOut = (name: string): boolean =>
  REGISTERED.has(name) || REGISTERED.has(name.replace(/_\d+$/, "_<k>")) || BENCHMARK.test(name);

/** A chart for each metric that the registry does not list: those that custom parts publish, of any scale. */
export function ownChartSpecs(names: readonly MetricName[]): readonly ChartSpec[] {
  return names
    .filter((name) => !isSpeltOut(name))
    .sort()
    .slice(0, MAX_OWN)
    .map((name) => ({
      id: `own-${name}`,
      title: name,
      unit: "",
      track: "training",
      series: [{ metric: name, label: "value", colour: 6 }],
    }));
}

/** The number in the header. */
export const HEADLINE_METRIC: MetricName = "reward/mean";
