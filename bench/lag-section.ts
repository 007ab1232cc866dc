import { boundedMeanInterval, meanInterval, shareInterval } from "../src/algorithms/intervals.js";
import { EDGE_STEPS, type LagRun } from "./lag-run.js";
import {
  ACCURACY,
  bucketsOf,
  countsOf,
  gainSpread,
  head,
  INTERVALS,
  type Machine,
  type RunRecord,
  row,
  stageSpread,
  written,
} from "./results-page.js";

/** The section of docs/results.md on samples of older policies: the demo at several lags, same seeds in the same order. Pure. */

export interface LagRecord extends RunRecord {
  /** Optimiser steps that changed weights. */
  readonly updates: { readonly rl: number };
  readonly lag: LagRun;
}

/** One setting of the demo that the section compares. */
export interface LagArm {
  /** Name of its results: `<name>-seed<n>.json`. */
  readonly name: string;
  readonly maxLag: number;
  readonly correction: string;
  /** Values of `--set`. */
  readonly settings: readonly string[];
}

/** The study is about steps at the full rate: the demo's rate rises over its first steps so that none of this happens there. */
const FULL_RATE = "optimiser.warmupSteps=0";
const STALE = [FULL_RATE, "rollout.engines=1", "update.oldLogprobs=recompute"];

const corrected = (maxLag: number): LagArm => ({
  name: `lag${maxLag}`,
  maxLag,
  correction: "token, at most 2",
  settings: [...STALE, `async.maxLag=${maxLag}`, "update.correction.importance=token"],
});

/** The first is the one that the others are compared with. */
export const LAG_ARMS: readonly LagArm[] = [
  { name: "lag0", maxLag: 0, correction: "none needed", settings: [FULL_RATE] },
  corrected(1),
  corrected(2),
  corrected(4),
  {
    name: "lag4-uncorrected",
    maxLag: 4,
    correction: "none",
    settings: [
      ...STALE,
      "async.maxLag=4",
      "update.correction.importance=none",
      "update.correction.allowUncorrected=true",
    ],
  },
];

export interface LagResult {
  readonly arm: LagArm;
  readonly runs: readonly LagRecord[];
}

/** Scored and right answers after RL over all length buckets. */
function allBuckets(run: RunRecord): { correct: number; n: number } {
  const counts = Object.keys(run.heldout.rl ?? {}).map((bucket) => countsOf(run, "rl", bucket));
  const sum = (of: "correct" | "n") => counts.reduce((total, one) => total + one[of], 0);
  return { correct: sum("correct"), n: sum("n") };
}

const percent = (run: RunRecord) => {
  const { correct, n } = allBuckets(run);
  return (100 * correct) / n;
};

function allSpread(runs: readonly RunRecord[]): string {
  const [only] = runs;
  if (runs.length === 1 && only) return percent(only).toFixed(1);
  return written(shareInterval(runs.map(allBuckets)), 1, 100);
}

/** Differences to the first arm, seed by seed, in per cent points. Throws where the seeds differ. */
function differences(runs: readonly RunRecord[], base: readonly RunRecord[]): number[] {
  return runs.map((run, i) => {
    const other = base[i];
    if (other?.seed !== run.seed) throw new Error(`seed ${run.seed} has no run to compare with`);
    return percent(run) - percent(other);
  });
}

type OfRun = (lag: LagRun) => number | null | undefined;

/** The runs' values; a run that has none is left out. */
const valuesOf = (runs: readonly LagRecord[], of: OfRun) => runs.flatMap(({ lag }) => of(lag) ?? []);

/** `mean [low, high]` of positive values, with the 95 % t interval on the logarithmic scale: ln(mean) ± h/mean. */
function positiveSpread(values: readonly number[], digits: number): string {
  const [only] = values;
  if (only === undefined) return "–";
  if (values.length === 1) return only.toFixed(digits);
  const interval = meanInterval(values);
  const factor = Math.exp((interval.high - interval.mean) / interval.mean);
  return written({ ...interval, low: interval.mean / factor, high: interval.mean * factor }, digits);
}

/** `mean (least to most)`, or the value that all have. */
function range(values: readonly number[], digits: number): string {
  if (values.length === 0) return "–";
  const text = (value: number) => value.toFixed(digits);
  const [least, most] = [text(Math.min(...values)), text(Math.max(...values))];
  return least === most ? least : `${text(total(values) / values.length)} (${least} to ${most})`;
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const meanLag = ({ tokensByLag }: LagRun) => total(tokensByLag.map((of, lag) => of * lag)) / total(tokensByLag);
const shareAt = (run: LagRun, lag: number) => (100 * (run.tokensByLag[lag] ?? 0)) / total(run.tokensByLag);

const nameOf = ({ maxLag, correction }: LagArm) => [String(maxLag), correction];

function accuracyTable(results: readonly LagResult[], base: readonly LagRecord[], buckets: readonly string[]) {
  return [
    ...head("`async.maxLag`", "correction", "all buckets", ...buckets, "difference to lag 0, all buckets"),
    ...results.map(({ arm, runs }, i) =>
      row(
        ...nameOf(arm),
        allSpread(runs),
        ...buckets.map((bucket) => stageSpread(runs, "rl", bucket)),
        i === 0 ? "" : gainSpread(differences(runs, base)),
      ),
    ),
  ];
}

/** Accuracy over all buckets of each run: means hide a run that failed among runs that did not. */
function seedTable(results: readonly LagResult[], base: readonly LagRecord[]) {
  return [
    ...head("`async.maxLag`", "correction", ...base.map(({ seed }) => `seed ${seed}`)),
    ...results.map(({ arm, runs }) => row(...nameOf(arm), ...runs.map((run) => percent(run).toFixed(1)))),
  ];
}

function policyTable(results: readonly LagResult[]) {
  return [
    ...head(
      "`async.maxLag`",
      "correction",
      "mean lag",
      "KL to the reference",
      "entropy",
      "mean weight",
      "clipped tokens, %",
      "rollouts trained on",
      "rollouts dropped as stale",
      "RL steps",
      "of them with an update",
    ),
    ...results.map(({ arm, runs }) =>
      row(
        ...nameOf(arm),
        range(valuesOf(runs, meanLag), 2),
        positiveSpread(
          valuesOf(runs, ({ last }) => last.klRef),
          3,
        ),
        positiveSpread(
          valuesOf(runs, ({ last }) => last.entropy),
          3,
        ),
        range(
          valuesOf(runs, ({ last }) => last.weight),
          3,
        ),
        range(
          valuesOf(runs, ({ last }) => (last.clipped === null ? null : 100 * last.clipped)),
          2,
        ),
        range(
          valuesOf(runs, ({ trainedRollouts }) => trainedRollouts),
          0,
        ),
        range(
          valuesOf(runs, ({ staleRollouts }) => staleRollouts),
          0,
        ),
        range(
          runs.map(({ steps }) => steps.rl),
          0,
        ),
        range(
          runs.map(({ updates }) => updates.rl),
          0,
        ),
      ),
    ),
  ];
}

function lagTable(results: readonly LagResult[]) {
  const lags = Array.from({ length: Math.max(...results.map(({ arm }) => arm.maxLag)) + 1 }, (_, lag) => lag);
  const mean = (values: readonly number[], digits: number) => (total(values) / values.length).toFixed(digits);
  const kl = (runs: readonly LagRecord[], of: OfRun) => {
    const values = valuesOf(runs, of);
    return values.length === 0 ? "–" : mean(values, 4);
  };
  const cell = (runs: readonly LagRecord[], lag: number) => {
    const shares = runs.map((run) => shareAt(run.lag, lag));
    return `${mean(shares, 1)} (${kl(runs, (run) => run.firstKlByLag[lag])}, ${kl(runs, (run) => run.last.klByLag[lag])})`;
  };
  return [
    ...head("`async.maxLag`", "correction", ...lags.map((lag) => `lag ${lag}`)),
    ...results.map(({ arm, runs }) =>
      row(...nameOf(arm), ...lags.map((lag) => (lag > arm.maxLag ? "" : cell(runs, lag)))),
    ),
  ];
}

/** Which arms' paired differences to lag 0 are told apart from 0 by their intervals. Empty with a single seed. */
function verdict(results: readonly LagResult[], base: readonly LagRecord[]): string[] {
  if (base.length < 2) return [];
  const groups = { below: [] as string[], above: [] as string[], unclear: [] as string[] };
  for (const { arm, runs } of results.slice(1)) {
    const { low, high } = boundedMeanInterval(differences(runs, base), -100, 100);
    const name = `${arm.maxLag} (correction: ${arm.correction})`;
    groups[high < 0 ? "below" : low > 0 ? "above" : "unclear"].push(name);
  }
  const say = (names: readonly string[], what: string) => (names.length === 0 ? [] : [`${what}: ${names.join("; ")}.`]);
  return [
    ...say(groups.below, "Worse than lag 0, with an interval of the difference below 0"),
    ...say(groups.above, "Better than lag 0, with an interval of the difference above 0"),
    ...say(groups.unclear, "Not told apart from lag 0 by these seeds"),
    "",
  ];
}

/** The section of all arms, the first of them the one to compare with; each has the same seeds in the same order. */
export function lagSection(results: readonly LagResult[], machine: Machine): string {
  const base = results[0]?.runs ?? [];
  const { first, buckets, longest } = bucketsOf(base);
  return [
    "## Samples of older policies",
    "",
    `\`npm run results -- --recipe lag --seeds ${base.map((run) => run.seed).join(",")}\` wrote this section: the demo with \`optimiser.warmupSteps: 0\` (lag 0), and so with \`async.maxLag\` of 1, 2 and 4,`,
    `once per seed, on the ${first.engine.backend} backend (${first.engine.version}, ${first.engine.executor} executor), ${machine.cores} cores (${machine.model}). The runs with a lag have`,
    "`rollout.engines: 1`, `update.oldLogprobs: recompute` and `update.correction.importance: token` with its default bound of 2 (decoupled",
    "objective and truncated importance sampling); one has `importance: none` and `allowUncorrected: true` in its place.",
    ACCURACY,
    ...INTERVALS,
    `All are after RL, on ${first.heldout.rl?.[longest]?.n} tasks per length bucket about entities that no training task names; differences are taken seed by seed.`,
    "",
    ...accuracyTable(results, base, buckets),
    "",
    ...verdict(results, base),
    "All buckets, by seed:",
    "",
    ...seedTable(results, base),
    "",
    `KL (\`kl/ref\`, to the policy after the warm-up), entropy, weights and clipped tokens are means over the last ${EDGE_STEPS} RL steps; the lag is that of all`,
    "trained tokens, as it was reached while sampler and trainer shared the cores. KL and entropy have t intervals on the logarithmic scale, other",
    "figures their least and largest over the seeds; a run in which no update belongs to those steps is left out of the KL.",
    "",
    ...policyTable(results),
    "",
    "Per cent of trained tokens by lag, mean over seeds, and in brackets the mean of k3 between the sampler and π_old at that lag, nats per",
    `token, over the first ${EDGE_STEPS} and the last ${EDGE_STEPS} steps:`,
    "",
    ...lagTable(results),
    "",
    "What this shows: lags of 1 and 2 cost no accuracy here; a lag of 4 fails with some seeds, and more completely without weights.",
    "The runs that failed did so within 20 steps. In the first ones the policy moves fastest: at lag 4 sampler and trainer are 0.15 nats per token",
    "apart with weights and 0.75 without, later less than 0.01. The first updates all saw samples of the first policy and overshot, to responses",
    "that were cut off, and then back to short ones. With weights the policy stayed with shorter answers; without, its entropy grew until no answer",
    "was right.",
    "",
    "What it does not show: the learning rate (3e-4) is the one found for the synchronous demo, and was not varied; whether a smaller one makes a lag",
    "of 4 safe is not known. With a lag, groups that one step does not need wait for the next, so that a step trains on more rollouts than in the",
    "synchronous demo, which may account for gains. With this few seeds an interval next to 0 is weak evidence, and four are compared.",
    "Seconds are not compared, since the runs shared the cores with one another.",
    "",
  ].join("\n");
}
