import type { MetricName } from "../../src/contracts/metrics.js";
import type { TraceToken } from "../../src/contracts/trace.js";

/** What can be shaded on the tokens of a response: each quantity with its unit, its scale and its shades. Pure. */

export interface Measure {
  readonly id: string;
  readonly label: string;
  /** Empty for bare numbers. */
  readonly unit: string;
  readonly meaning: string;
  /** From 0 up; or around a middle, both ways. */
  readonly scale: "upwards" | "both-ways";
  /** The number that is shown; null where it is not known. */
  read(token: TraceToken): number | null;
  /** Position on the scale: 0 is its lower end or its middle. */
  place(value: number): number;
  /** The value at a position. */
  at(place: number): number;
  /** Position of the strongest shade, given the positions of all tokens; a fixed one, or a round one that holds them. */
  full(places: readonly number[]): number;
}

const same = (value: number): number => value;
/** A token of probability 0.05, and a choice between twenty equally likely tokens. */
const NATS = 3;
/** A ratio of 1.05, so that rounding does not look like a change. */
const SMALLEST_LOG_RATIO = Math.log(1.05);

const linear = { place: same, at: same };
const reach = (least: number) => (places: readonly number[]) =>
  roundUp(places.reduce((most, place) => Math.max(most, Math.abs(place)), least));
const logarithmic = {
  place: (value: number) => (value > 0 ? Math.log(value) : Number.NEGATIVE_INFINITY),
  at: Math.exp,
  full: (places: readonly number[]) =>
    places.reduce(
      (most, place) => (Number.isFinite(place) ? Math.max(most, Math.abs(place)) : most),
      SMALLEST_LOG_RATIO,
    ),
};

export const MEASURES: readonly Measure[] = [
  {
    ...linear,
    id: "surprise",
    label: "−log p",
    unit: "nats",
    meaning: "negative log-probability under the policy that sampled",
    scale: "upwards",
    read: (token) => -token.logprob,
    full: () => NATS,
  },
  {
    ...linear,
    id: "entropy",
    label: "entropy",
    unit: "nats",
    meaning: "entropy of the distribution that it was sampled from",
    scale: "upwards",
    read: (token) => token.entropy,
    full: () => NATS,
  },
  {
    ...linear,
    id: "advantage",
    label: "advantage",
    unit: "",
    meaning: "advantage that the loss gives the token",
    scale: "both-ways",
    read: (token) => token.advantage,
    full: reach(1e-3),
  },
  {
    ...logarithmic,
    id: "ratio",
    label: "ratio",
    unit: "",
    meaning: "π / π_old at the gradient",
    scale: "both-ways",
    read: (token) => token.ratio,
  },
  {
    ...linear,
    id: "klOld",
    label: "KL to old",
    unit: "nats",
    meaning: "k3 of the policy after the step against the one before it",
    scale: "upwards",
    read: (token) => token.klOld,
    full: reach(1e-6),
  },
  {
    ...linear,
    id: "klRef",
    label: "KL to reference",
    unit: "nats",
    meaning: "k3 of the policy before the step against the reference",
    scale: "upwards",
    read: (token) => token.klRef,
    full: reach(1e-6),
  },
  {
    ...linear,
    id: "lossShare",
    label: "loss share",
    unit: "%",
    meaning: "part of the step's loss: over the sum of all parts' sizes",
    scale: "both-ways",
    read: (token) => (token.lossShare === null ? null : 100 * token.lossShare),
    full: reach(1e-6),
  },
  {
    ...logarithmic,
    id: "weight",
    label: "weight",
    unit: "",
    meaning: "weight in the loss from rollout correction",
    scale: "both-ways",
    read: (token) => token.weight,
  },
];

/** Shades of each direction; the style sheet has one class for each. */
export const SHADES = 8;

/** Those that are known of at least one token. */
export const measuresOf = (tokens: readonly TraceToken[]): readonly Measure[] =>
  MEASURES.filter((measure) => tokens.some((token) => measure.read(token) !== null));

/** Class of a shade: `h0` … `h8` upwards and above the middle, `m1` … `m8` below it, `na` where nothing is known. */
export function shadeClass(measure: Measure, value: number | null, full: number): string {
  if (value === null || Number.isNaN(value)) return "na";
  const place = Math.max(-full, Math.min(full, measure.place(value)));
  const shade = Math.round((Math.abs(place) / full) * SHADES);
  return place < 0 && measure.scale === "both-ways" && shade > 0 ? `m${shade}` : `h${place < 0 ? 0 : shade}`;
}

/** Tokens by the size of what is shaded, largest first; those without a value are left out. */
export function hottest(measure: Measure, tokens: readonly TraceToken[]): readonly number[] {
  const sizes = tokens.flatMap((token, i) => {
    const value = measure.read(token);
    return value === null || Number.isNaN(value) ? [] : [{ i, size: Math.abs(measure.place(value)) }];
  });
  return sizes.sort((a, b) => b.size - a.size).map(({ i }) => i);
}

/** What to shade for an alarm on a metric: the quantity that its culprits are ranked by, or the nearest to it. */
export function measureForMetric(metric: MetricName | string): string {
  if (metric.startsWith("kl/ref")) return "klRef";
  if (metric.startsWith("kl/")) return "klOld";
  if (metric.startsWith("entropy/")) return "entropy";
  if (metric.startsWith("ratio/") || metric.startsWith("clip/")) return "ratio";
  if (metric.startsWith("advantage/")) return "advantage";
  if (metric.startsWith("gradient/") || metric.startsWith("loss/")) return "lossShare";
  if (metric.startsWith("correction/")) return "weight";
  return "surprise";
}

/** The next of 1, 2, 5, 10, 20 … times a power of ten. */
export function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((one) => value <= one * unit * (1 + 1e-9)) ?? 10;
  return Number((factor * unit).toPrecision(2));
}
