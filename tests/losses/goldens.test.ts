/** Losses, advantages and rollout corrections against what verl and TRL computed (tests/fixtures/losses.json). */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { advantagesByGroup, groupAdvantages, leaveOneOutAdvantages } from "../../src/algorithms/advantages.js";
import {
  gdpoAdvantages,
  opoAdvantages,
  reinforcePlusPlusAdvantages,
  reinforcePlusPlusBaselineAdvantages,
} from "../../src/algorithms/batch-advantages.js";
import type { LossSettings } from "../../src/contracts/loss.js";
import { evaluateLoss } from "../../src/losses/evaluate.js";
import { POLICY_LOSSES, policyLossNamed } from "../../src/losses/index.js";
import type { PolicyLoss } from "../../src/losses/policy-loss.js";
import { importanceWeights, keptTokens } from "../../src/losses/rollout-correction.js";

type Matrix = number[][];
type Options = Record<string, number | string | null | undefined>;

interface Golden {
  batches: Record<string, { newLogprobs: Matrix; oldLogprobs: Matrix; advantages: Matrix; mask: Matrix }>;
  groups: Record<string, { rewards: number[]; groups: string[]; lengths: number[] }>;
  parts: Record<
    string,
    { parts: Record<string, number[]>; groups: string[]; lengths: number[]; weights: number[] | null }
  >;
  mismatch: Record<string, { oldLogprobs: Matrix; samplerLogprobs: Matrix; mask: Matrix }>;
  losses: LossCase[];
  advantages: { peer: string; advantage: string; input: string; options: Options; value: Matrix; precision?: string }[];
  corrections: { correction: string; input: string; options: Options; value: Matrix }[];
}

interface LossCase {
  peer: "verl" | "trl";
  loss: string;
  batch: string;
  options: Options;
  aggregation: string;
  value: number;
  gradient: Matrix;
  metrics: Record<string, number>;
}

const own = join(import.meta.dirname, "..", "fixtures", "losses.json");
const given = join(process.env.WEIR_FIXTURES ?? "", "losses.json");
const golden = JSON.parse(readFileSync(process.env.WEIR_FIXTURES && existsSync(given) ? given : own, "utf8")) as Golden;

/** verl divides by (tokens + 1e-8) where weir divides by tokens. */
const RELATIVE = 3e-8;
/** In gmpo that stands in an exponent, beside log ratios of up to 15 in these cases. */
const GMPO_RELATIVE = 3e-7;
/** verl keeps several rewards in float32. */
const SINGLE = 2e-6;

function close(actual: number, expected: number, what: string, relative = RELATIVE): void {
  const limit = 1e-13 + relative * Math.max(1e-3, Math.abs(expected));
  if (!(Math.abs(actual - expected) <= limit)) throw new Error(`${what}: expected ${expected}, got ${actual}`);
}

function settingsOf(loss: PolicyLoss, { options }: LossCase): LossSettings {
  const number = (name: string) => (typeof options[name] === "number" ? (options[name] as number) : undefined);
  const low = number("clip_ratio_low") ?? number("epsilon_low");
  const high = number("clip_ratio_high") ?? number("epsilon_high");
  // TRL's cispo has an upper bound only, which is the ratio itself.
  const upperOnly = loss.name === "cispo" && options.epsilon_high !== undefined;
  return {
    clipLow: upperOnly ? 1 : (low ?? loss.defaults.clipLow ?? 0),
    clipHigh: upperOnly ? (high as number) - 1 : (high ?? loss.defaults.clipHigh ?? 0),
    dualClip: number("clip_ratio_c") ?? null,
    largestRatio: number("delta") ?? null,
    tauPositive: number("tau_pos") ?? 1,
    tauNegative: number("tau_neg") ?? 1.05,
  };
}

/** Weight of one token by the aggregation that the peer was asked for; rows that are all masked count where they do there. */
function weightOf(item: LossCase, length: number, lengths: readonly number[]): number {
  const tokens = lengths.reduce((sum, value) => sum + value, 0);
  const filled = lengths.filter((value) => value > 0).length;
  const scale = item.options.lossScale as number;
  switch (item.aggregation) {
    case "token-mean":
    case "dapo":
    case "cispo":
      return 1 / tokens;
    case "seq-mean-token-mean":
      return 1 / (filled * length);
    case "none": // gmpo in verl: mean over all rows
    case "grpo":
    case "sapo":
      return 1 / (lengths.length * length);
    case "seq-mean-token-sum-norm":
      return 1 / (filled * scale);
    case "dr_grpo":
      return 1 / (lengths.length * scale);
    default:
      throw new Error(`losses.json has the aggregation ${item.aggregation}, for which there is no weight`);
  }
}

function checkLoss(item: LossCase): void {
  const loss = policyLossNamed(item.loss);
  const batch = golden.batches[item.batch];
  if (!loss || !batch) throw new Error(`losses.json has an unknown loss or batch: ${item.loss}, ${item.batch}`);
  const unmasked = (matrix: Matrix, b: number) => (matrix[b] ?? []).filter((_, t) => batch.mask[b]?.[t] !== 0);
  const lengths = batch.mask.map((row) => row.filter((m) => m !== 0).length);
  const sequences = lengths.map((length, b) => ({
    logprobs: unmasked(batch.newLogprobs, b),
    old: unmasked(batch.oldLogprobs, b),
    advantages: unmasked(batch.advantages, b),
    weights: new Array<number>(length).fill(length === 0 ? 0 : weightOf(item, length, lengths)),
  }));
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const found = evaluateLoss(loss, sequences, settingsOf(loss, item));
  const where = `${item.peer} ${item.loss} ${item.batch} ${JSON.stringify(item.options)}`;
  const relative = loss.name === "gmpo" ? GMPO_RELATIVE : RELATIVE;
  close(found.value, item.value, `${where}: value`, relative);
  item.gradient.forEach((row, b) => {
    const expected = row.filter((_, t) => batch.mask[b]?.[t] !== 0);
    row.forEach((value, t) => {
      if (batch.mask[b]?.[t] === 0) expect(value, `${where}: a masked token has a gradient`).toBeCloseTo(0, 15);
    });
    expected.forEach((value, t) => {
      close(found.coefficients[b]?.[t] ?? Number.NaN, value, `${where}: gradient ${b}, ${t}`, relative);
    });
  });
  const { "actor/pg_clipfrac": clipped, "actor/pg_clipfrac_lower": lower } = item.metrics;
  if (clipped !== undefined && loss.name !== "sapo") close(found.clipped / tokens, clipped, `${where}: clipped`);
  if (lower !== undefined && !["gspo", "sapo", "cispo"].includes(loss.name))
    close(found.clippedLower / tokens, lower, `${where}: clipped below`);
}

describe("losses against verl and TRL", () => {
  it.each(
    golden.losses.map(
      (item) => [`${item.peer} ${item.loss} ${item.batch} ${JSON.stringify(item.options)}`, item] as const,
    ),
  )("%s: value, gradient and counters agree", (_, item) => checkLoss(item));

  it("every built-in loss has goldens", () => {
    expect(Object.keys(POLICY_LOSSES).filter((name) => !golden.losses.some(({ loss }) => loss === name))).toEqual([]);
  });

  it("changing any expected value or gradient fails", () => {
    const off = (value: number) => value + 1e-5 + Math.abs(value) * 1e-5;
    for (const item of golden.losses) {
      expect(() => checkLoss({ ...item, value: off(item.value) })).toThrow(/value/);
      const gradient = item.gradient.map((row, b) => row.map((value, t) => (b === 0 && t === 0 ? off(value) : value)));
      expect(() => checkLoss({ ...item, gradient })).toThrow(/gradient/);
    }
  });

  it("an unknown loss fails", () => {
    const [first] = golden.losses;
    expect(() => checkLoss({ ...(first as LossCase), loss: "vapo" })).toThrow(/unknown loss/);
  });
});

type AdvantageCase = Golden["advantages"][number];

function advantagesOf({ advantage, input, options }: AdvantageCase): number[][] {
  if (advantage === "gdpo") {
    const item = golden.parts[input];
    if (!item) throw new Error(`losses.json has no parts ${input}`);
    const members = item.groups.map((group, b) => ({ reward: 0, group, length: item.lengths[b] as number }));
    const parts = Object.values(item.parts).map((rewards, k) => ({ rewards, weight: item.weights?.[k] ?? 1 }));
    return gdpoAdvantages(members, parts);
  }
  const item = golden.groups[input];
  if (!item) throw new Error(`losses.json has no group ${input}`);
  const members = item.rewards.map((reward, b) => ({
    reward,
    group: item.groups[b] as string,
    length: item.lengths[b] as number,
  }));
  const perMember = (of: (rewards: readonly number[]) => readonly number[]) =>
    advantagesByGroup(item.rewards, item.groups, of).map((value, b) =>
      new Array<number>(members[b]?.length ?? 0).fill(value),
    );
  const epsilon = options.epsilon;
  switch (advantage) {
    case "grpo":
      return perMember((rewards) => groupAdvantages(rewards, typeof epsilon === "number" ? { epsilon } : {}));
    case "dr_grpo":
      return perMember((rewards) => groupAdvantages(rewards, { normaliseByStd: false }));
    case "rloo":
      return perMember(leaveOneOutAdvantages);
    case "opo":
      return opoAdvantages(members);
    case "reinforce_pp":
      return reinforcePlusPlusAdvantages(members);
    case "reinforce_pp_baseline":
      return reinforcePlusPlusBaselineAdvantages(members);
    default:
      throw new Error(`losses.json has the advantage ${advantage}, for which there is no formula`);
  }
}

function checkAdvantage(item: AdvantageCase): void {
  const found = advantagesOf(item);
  item.value.forEach((row, b) => {
    row.forEach((value, t) => {
      const own = found[b]?.[t];
      const what = `${item.peer} ${item.advantage} ${item.input}: ${b}, ${t}`;
      if (own === undefined) expect(Math.abs(value), `${what} is padding`).toBe(0);
      else close(own, value, what, item.precision === "float32" ? SINGLE : RELATIVE);
    });
  });
}

describe("advantages against verl and TRL", () => {
  it.each(golden.advantages.map((item) => [`${item.peer} ${item.advantage} ${item.input}`, item] as const))(
    "%s",
    (_, item) => checkAdvantage(item),
  );

  it("changing any expected advantage fails", () => {
    for (const item of golden.advantages) {
      const value = item.value.map((row, b) => row.map((x, t) => (b === 0 && t === 0 ? x + 1e-3 : x)));
      expect(() => checkAdvantage({ ...item, value })).toThrow();
    }
  });
});

type CorrectionCase = Golden["corrections"][number];

function checkCorrection(item: CorrectionCase): void {
  const input = golden.mismatch[item.input];
  if (!input) throw new Error(`losses.json has no input ${item.input}`);
  const { threshold } = item.options;
  const [first, second] = String(threshold).split("_").map(Number) as [number, number | undefined];
  item.value.forEach((row, b) => {
    const places = row.flatMap((_, t) => (input.mask[b]?.[t] === 0 ? [] : [t]));
    const pick = (matrix: Matrix) => places.map((t) => matrix[b]?.[t] as number);
    const old = pick(input.oldLogprobs);
    const sampler = pick(input.samplerLogprobs);
    let found: number[];
    if (item.correction === "weights") {
      const level = item.options.level as "token" | "sequence";
      found = importanceWeights(old, sampler, {
        level,
        lower: second === undefined ? null : first,
        upper: second ?? first,
      });
    } else {
      const [, level, estimator] =
        /^(token|seq_sum|seq_mean|seq_max)_(k[123])$/.exec(String(item.options.method)) ?? [];
      const bounds = second === undefined ? { lower: 1 / first, upper: first } : { lower: first, upper: second };
      found = keptTokens(old, sampler, { level, estimator, ...bounds } as never).map(Number);
    }
    places.forEach((t, i) => {
      close(found[i] as number, row[t] as number, `${item.correction} ${JSON.stringify(item.options)} ${b}, ${t}`);
    });
  });
}

describe("rollout corrections against verl", () => {
  it.each(golden.corrections.map((item) => [`${item.input} ${JSON.stringify(item.options)}`, item] as const))(
    "%s",
    (_, item) => checkCorrection(item),
  );

  it("changing any expected weight fails", () => {
    for (const item of golden.corrections) {
      const value = item.value.map((row, b) => row.map((x, t) => (b === 0 && t === 0 ? x + 0.5 : x)));
      expect(() => checkCorrection({ ...item, value })).toThrow();
    }
  });
});
