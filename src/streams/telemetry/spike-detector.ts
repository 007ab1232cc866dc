/**
 * Spike detection: from the numbers of a step to alerts with the rollouts that caused them. Its only state is its history.
 * Rules: non_finite (any value), kl_limit and kl_spike (KL to the previous and to the reference policy), entropy_collapse, entropy_divergence and entropy_spike, mismatch.
 * Invariants: a step is judged against the steps before it in the same phase, never against itself; non-finite values never
 * enter the history; alert ids are made of step, rule and metric, so that a repeated run gives equal alerts (I11).
 */
import { robustZ } from "../../algorithms/statistics.js";
import type { Alert } from "../../contracts/alert.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import type { MetricName, MetricValues } from "./metrics.js";

export interface SpikeOptions {
  /** Steps of history. */
  readonly window: number;
  /** Robust z at which KL (upwards) or entropy (either direction) raises an alert. */
  readonly z: number;
  /** kl/old_k3 that always raises an alert, nats. */
  readonly klLimit: number;
  readonly entropyLow: number;
  readonly entropyHigh: number;
  readonly mismatchLimit: number;
}

/** A rollout's part in a metric: its contribution and the token that contributed most. */
export interface SpikeContribution {
  readonly rolloutId: string;
  readonly contribution: number;
  readonly tokenIndex: number;
  /** Metric that this explains; all metrics if left out. */
  readonly metric?: MetricName;
}

export interface SpikeObservation {
  readonly step: number;
  readonly phase: number;
  readonly policyVersion: number;
  readonly time: number;
  /** Metrics of the step by registered name; all are checked for non-finite values. */
  readonly values: MetricValues;
  readonly contributions: readonly SpikeContribution[];
}

export interface SpikeDetector {
  /** Judges a step, then takes it into the history. */
  observe(observation: SpikeObservation): Alert[];
  snapshot(): Json;
  restore(snapshot: Json): void;
}

export const KL_METRIC = "kl/old_k3" satisfies MetricName;
export const REFERENCE_METRIC = "kl/ref" satisfies MetricName;
export const ENTROPY_METRIC = "entropy/mean" satisfies MetricName;
export const MISMATCH_METRIC = "mismatch_abs" satisfies MetricName;

/** Minimum history of a z-score, steps: the median of fewer is too noisy. */
export const MIN_HISTORY = 8;
/** Culprits per alert. */
const TOP_K = 5;
/** Smallest scale of a z-score: without it noise after a very steady history would look like a spike. */
const MIN_SCALE: { readonly [N in MetricName]?: number } = {
  [KL_METRIC]: 1e-4,
  [REFERENCE_METRIC]: 1e-2,
  [ENTROPY_METRIC]: 1e-2,
};

interface Finding {
  readonly level: Alert["level"];
  readonly rule: string;
  readonly metric: MetricName;
  readonly value: number;
  readonly threshold: number;
  readonly z: number | null;
  readonly text: string;
  /** A collapse is caused by the rollouts of lowest entropy, everything else by those with the largest contribution. */
  readonly smallestFirst?: boolean;
}

export function createSpikeDetector(options: SpikeOptions): SpikeDetector {
  let phase = 0;
  let history = new Map<string, number[]>();

  const zOf = (metric: MetricName, value: number): number | null => {
    const past = history.get(metric) ?? [];
    if (past.length < Math.min(options.window, MIN_HISTORY)) return null;
    return robustZ(value, past, MIN_SCALE[metric] ?? Number.MIN_VALUE);
  };

  const findings = (values: MetricValues): Finding[] => {
    const found: Finding[] = [];
    for (const [metric, value] of Object.entries(values) as [MetricName, number][]) {
      if (Number.isFinite(value)) continue;
      const text = `${metric} is ${value}`;
      found.push({ level: "error", rule: "non_finite", metric, value, threshold: 0, z: null, text });
    }
    const kl = finite(values[KL_METRIC]);
    if (kl !== null) found.push(...klFindings(kl, zOf(KL_METRIC, kl), options));
    const reference = finite(values[REFERENCE_METRIC]);
    if (reference !== null) found.push(...referenceFindings(reference, zOf(REFERENCE_METRIC, reference), options));
    const entropy = finite(values[ENTROPY_METRIC]);
    if (entropy !== null) found.push(...entropyFindings(entropy, zOf(ENTROPY_METRIC, entropy), options));
    const mismatch = finite(values[MISMATCH_METRIC]);
    if (mismatch !== null && mismatch > options.mismatchLimit) {
      found.push({
        level: "error",
        rule: "mismatch",
        metric: MISMATCH_METRIC,
        value: mismatch,
        threshold: options.mismatchLimit,
        z: null,
        text: `sampler and trainer log-probs differ by ${show(mismatch)} nats per token (limit ${options.mismatchLimit})`,
      });
    }
    return found;
  };

  return {
    observe(observation) {
      if (observation.phase !== phase) {
        phase = observation.phase;
        history = new Map();
      }
      const alerts = findings(observation.values).map((finding) => alertOf(finding, observation));
      for (const metric of [KL_METRIC, REFERENCE_METRIC, ENTROPY_METRIC] as const) {
        const value = finite(observation.values[metric]);
        if (value !== null) history.set(metric, [...(history.get(metric) ?? []), value].slice(-options.window));
      }
      return alerts;
    },
    snapshot: () => ({ version: 1, phase, history: [...history].map(([metric, values]) => [metric, [...values]]) }),
    restore(snapshot) {
      const raw = snapshot as { version?: number; phase?: number; history?: [string, number[]][] } | null;
      if (raw?.version !== 1 || typeof raw.phase !== "number" || !Array.isArray(raw.history)) {
        throw new WeirError(
          "WEIR_E_CHECKPOINT_DAMAGED",
          "expected a snapshot of the spike detector (version 1), got something else; resume from another checkpoint",
        );
      }
      phase = raw.phase;
      history = new Map(raw.history.map(([metric, values]) => [metric, [...values]]));
    },
  };
}

function klFindings(value: number, z: number | null, options: SpikeOptions): Finding[] {
  const base = { metric: KL_METRIC, value, z } as const;
  if (value >= options.klLimit) {
    const text = `KL to the previous policy is ${show(value)} nats (limit ${options.klLimit})`;
    return [{ ...base, level: "error", rule: "kl_limit", threshold: options.klLimit, text }];
  }
  if (z === null || z < options.z) return [];
  const text = `KL to the previous policy is ${show(value)} nats, robust z-score ${z.toFixed(1)} over recent steps`;
  return [{ ...base, level: "warn", rule: "kl_spike", threshold: options.z, text }];
}

/** The policy moves away from the reference by design, so only a jump counts, not a level. */
function referenceFindings(value: number, z: number | null, options: SpikeOptions): Finding[] {
  if (z === null || z < options.z) return [];
  const text = `KL to the reference policy is ${show(value)} nats, robust z-score ${z.toFixed(1)} over recent steps`;
  return [{ level: "warn", rule: "kl_spike", metric: REFERENCE_METRIC, value, threshold: options.z, z, text }];
}

function entropyFindings(value: number, z: number | null, options: SpikeOptions): Finding[] {
  const base = { metric: ENTROPY_METRIC, value, z } as const;
  if (value < options.entropyLow) {
    const text = `entropy is ${show(value)} nats, below ${options.entropyLow}: the policy has collapsed`;
    const rule = "entropy_collapse";
    return [{ ...base, level: "error", rule, threshold: options.entropyLow, text, smallestFirst: true }];
  }
  if (value > options.entropyHigh) {
    const text = `entropy is ${show(value)} nats, above ${options.entropyHigh}: the policy is diverging`;
    return [{ ...base, level: "error", rule: "entropy_divergence", threshold: options.entropyHigh, text }];
  }
  if (z === null || Math.abs(z) < options.z) return [];
  const text = `entropy is ${show(value)} nats, robust z-score ${z.toFixed(1)} over recent steps`;
  return [{ ...base, level: "warn", rule: "entropy_spike", threshold: options.z, text, smallestFirst: z < 0 }];
}

function alertOf(finding: Finding, observation: SpikeObservation): Alert {
  const { smallestFirst = false, ...rest } = finding;
  const { step, phase, policyVersion, time } = observation;
  const sign = smallestFirst ? 1 : -1;
  const culprits = observation.contributions
    .filter(({ metric }) => metric === undefined || metric === finding.metric)
    .sort((a, b) => sign * rankable(a) - sign * rankable(b))
    .slice(0, TOP_K)
    .map(({ rolloutId, contribution, tokenIndex }) => ({ rolloutId, contribution, tokenIndex }));
  return { id: `${step}-${finding.rule}-${finding.metric}`, ...rest, step, phase, policyVersion, culprits, time };
}

/** A NaN contribution ranks first. */
function rankable({ contribution }: SpikeContribution): number {
  return Number.isNaN(contribution) ? Number.MAX_VALUE : contribution;
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function show(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/** Contributions of rollouts to a metric from its per-token parts: their sum, and the position of the largest. Rollouts without tokens are left out. */
export function contributionsOfTokens(
  metric: MetricName,
  rollouts: readonly { readonly rolloutId: string; readonly perToken: readonly number[] }[],
): SpikeContribution[] {
  return rollouts.flatMap(({ rolloutId, perToken }) => {
    if (perToken.length === 0) return [];
    let tokenIndex = 0;
    let contribution = 0;
    perToken.forEach((value, index) => {
      contribution += value;
      if (value > (perToken[tokenIndex] as number)) tokenIndex = index;
    });
    return [{ rolloutId, contribution, tokenIndex, metric }];
  });
}
