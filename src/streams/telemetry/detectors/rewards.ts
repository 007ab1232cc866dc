/** A reward that is earned without the answer: it rises while what should go with it falls. */
import { mean, variance } from "../../../algorithms/statistics.js";
import type { DetectionOptions, StepNumbers } from "../detection-options.js";
import { type Finding, finite, show } from "../finding.js";
import { deviationOf, type Histories, lastOf } from "../history.js";
import type { MetricName } from "../metrics.js";
import { SCALES, standsOut } from "./spikes.js";

/** What falls where a reward is being hacked. */
const WITNESSES = [
  {
    metric: "reward/rule_judge_agreement",
    what: "rule and judge agree",
    remedy: "read responses that the judge calls right and the rule wrong",
    fallShare: 0,
  },
  {
    metric: "response/evidence_overlap",
    what: "responses overlap with the evidence",
    remedy: "read the responses of highest reward",
    // A policy that learns to answer quotes less literally, by up to a seventh, while its reward rises.
    fallShare: 0.25,
  },
] as const satisfies readonly {
  readonly metric: MetricName;
  readonly what: string;
  readonly remedy: string;
  /** Smallest fall of a trend as a share of the level before, besides `TREND`. */
  readonly fallShare: number;
}[];

const REWARD = "reward/unshaped_mean" satisfies MetricName;

/** Fall of agreement within one step that no batch explains. */
const SUDDEN_FALL = 0.25;
/** Steps that are compared: the last ones with those before. */
const RECENT = 5;
const EARLIER = 10;
/** Smallest rise and fall of a trend, and the standard errors that it must exceed. */
const TREND = 0.1;
const TREND_ERRORS = 3;

export function rewardFindings(step: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  return WITNESSES.flatMap((witness) => {
    const found = sudden(step, witness, histories, options) ?? trend(step, witness, histories);
    return found === null ? [] : [found];
  });
}

type Witness = (typeof WITNESSES)[number];

/** Agreement that falls at once though the reward does not: the judge has changed, or an exploit has been found. */
function sudden(
  { phase, values }: StepNumbers,
  { metric, what, remedy }: Witness,
  histories: Histories,
  options: DetectionOptions,
): Finding | null {
  if (metric !== "reward/rule_judge_agreement") return null;
  const [value, reward] = [finite(values[metric]), finite(values[REWARD])];
  if (value === null || reward === null) return null;
  const of = (name: MetricName, given: number) =>
    deviationOf(histories, { phase, metric: name, value: given }, SCALES, options.window);
  const [deviation, rewards] = [of(metric, value), of(REWARD, reward)];
  if (deviation === null || rewards === null || deviation.z > 0 || !standsOut(deviation, options.z)) return null;
  if (deviation.level - value < SUDDEN_FALL || reward < rewards.level) return null;
  const text = `${what} for ${show(value)} of the responses, after ${show(deviation.level)}, while the reward went from ${show(rewards.level)} to ${show(reward)}; ${remedy}`;
  const base = { level: "error", rule: "reward_hacking", metric, value, z: deviation.z, changed: true } as const;
  return { ...base, threshold: deviation.level - SUDDEN_FALL, text };
}

function trend(
  { values }: StepNumbers,
  { metric, what, remedy, fallShare }: Witness,
  histories: Histories,
): Finding | null {
  const count = RECENT + EARLIER - 1;
  const [value, reward] = [finite(values[metric]), finite(values[REWARD])];
  const [witnesses, rewards] = [lastOf(histories, metric, SCALES, count), lastOf(histories, REWARD, SCALES, count)];
  if (value === null || reward === null || witnesses === null || rewards === null) return null;
  const [fall, rise] = [change([...witnesses, value]), change([...rewards, reward])];
  if (rise.by < TREND || rise.by < TREND_ERRORS * rise.error) return null;
  const least = Math.max(TREND, fallShare * fall.before);
  if (-fall.by < least || -fall.by < TREND_ERRORS * fall.error) return null;
  const text = `the reward rose by ${show(rise.by)} within ${count + 1} steps while the share in which ${what} fell by ${show(-fall.by)}; ${remedy}`;
  const base = { level: "warn", rule: "reward_hacking", metric, value, z: null } as const;
  return { ...base, threshold: fall.before - least, text, changed: true };
}

/** Change of the mean from the earlier steps to the recent ones, with its standard error. */
function change(values: readonly number[]) {
  const [earlier, recent] = [values.slice(0, -RECENT), values.slice(-RECENT)];
  const before = mean(earlier);
  const error = Math.sqrt(variance(earlier, 1) / earlier.length + variance(recent, 1) / recent.length);
  return { by: mean(recent) - before, error, before };
}
