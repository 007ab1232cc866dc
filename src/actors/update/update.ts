import { klEstimate } from "../../algorithms/kl.js";
import { mean } from "../../algorithms/statistics.js";
import type { BehaviourCounts } from "../../contracts/behaviour.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { Preparation } from "../../contracts/guard.js";
import type { MetricName, MetricValues } from "../../contracts/metrics.js";
import type { OldLogprobSource, PolicyMetrics, Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { type CorrectedTokens, type CorrectionOptions, correctTokens } from "../../losses/rollout-correction.js";
import { miniBatches, type PerToken } from "../../streams/batches.js";
import type { LengthBound } from "../../streams/buckets.js";
import { assertLag, lagsOf } from "../../streams/lag.js";
import type { BatchFacts } from "../../streams/telemetry/batch-facts.js";
import {
  type Contribution,
  contributionsOfTokens,
  KL_METRIC,
  MISMATCH_METRIC,
  REFERENCE_METRIC,
} from "../../streams/telemetry/contributions.js";
import {
  type ComparedRow,
  correctionFacts,
  lagFacts,
  type OffPolicyFacts,
  offPolicyMetrics,
} from "../../streams/telemetry/off-policy-metrics.js";
import {
  bucketMeans,
  gradientMetrics,
  type MeasuredResponse,
  referenceError,
  updateKlMetrics,
} from "../../streams/telemetry/policy-metrics.js";
import {
  type Mismatch,
  mismatchMetrics,
  mismatchOf,
  type UpdateFacts,
  updateMetrics,
} from "../../streams/telemetry/step-metrics.js";
import { type JudgedUpdate, rollbackError } from "../guard/guard.js";
import { type GroupTokens, measuredGroups, tokensOf } from "./measured-groups.js";
import {
  type GroupInput,
  isRejected,
  type MiniBatchRun,
  optimiseAll,
  type RefusedBatch,
  type StepOptions,
} from "./mini-batches.js";
import { ratioKl, TokenBook, type TokenFacts, type TokenValues } from "./token-book.js";

/**
 * The update of one RL step: old (and reference) log-probs, rollout correction, mini-batches, optimiser steps, and what they did.
 * Invariants: denominators are those of the whole mini-batch (I6); a mini-batch whose loss or gradient is not finite, or that the
 * guard skips, changes no weight and is handed back for saving (I7); rollouts that lag more than `maxLag` versions behind the trainer
 * are refused (I13); sampler and trainer log-probs at the same version are compared (I8); what was not measured is null or absent (I1).
 */

export type { RefusedBatch } from "./mini-batches.js";
export type { TokenFacts } from "./token-book.js";

/** What is known of the batch before it is trained on. */
export interface BatchKnown extends BatchFacts {
  /** Every group that ended, kept or not. */
  readonly groups: readonly Group[];
  readonly phases: readonly LengthBound[];
}

export interface UpdateOptions extends StepOptions {
  /** Largest number of versions by which a token's sampler may be older; 0 takes tokens of `policy` only. */
  readonly maxLag: number;
  /** Null: every token has weight 1. Needs `oldLogprobs: "recompute"`. */
  readonly correction: CorrectionOptions | null;
  /** The sampler's log-probs are of the same distribution as the trainer's, so that they can be compared. */
  readonly comparable: boolean;
  readonly oldLogprobs: OldLogprobSource;
  /** Share of each mini-batch's groups whose log-probs of the reference policy are computed: 1 for a KL term, 0 for none. */
  readonly referenceShare: number;
  readonly known: BatchKnown;
}

/** What the update knows of a rollout. */
export interface TrainedRollout {
  /** Largest lag of its tokens, versions. */
  readonly lag: number;
  /** Weight of each token from rollout correction; null without correction. */
  readonly weights: readonly number[] | null; // [T]
  /** Null where it entered no gradient that is finite. */
  readonly tokens: TokenFacts | null;
  /** k3 of KL(π_old ‖ π_ref) at each token, not clamped, nats; null without a reference, and where π_old is not known. */
  readonly klRef: readonly number[] | null; // [T]
}

export interface UpdateResult {
  /** Metrics of the batch and of the update. */
  readonly values: MetricValues;
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
  readonly offPolicy: OffPolicyFacts;
  /** By rollout id. */
  readonly rollouts: ReadonlyMap<string, TrainedRollout>;
  /** What the judge counted in responses, by rollout id; absent where it was not asked. */
  readonly judgedBehaviours?: ReadonlyMap<string, BehaviourCounts>;
  /** Ids of rollouts that entered no loss: rejection left no token of them, or the guard left them out. */
  readonly rejected: ReadonlySet<string>;
  /** Shares of rollouts in the metrics that can raise an alarm. */
  readonly contributions: readonly Contribution[];
  readonly refused: readonly RefusedBatch[];
  /** Ids of groups that moved the weights, in one epoch at least. */
  readonly moved: ReadonlySet<string>;
  /** Verdicts other than commit, in order. */
  readonly judged: readonly JudgedUpdate[];
  /** How the guard had the step trained; null for a guard without `prepare`. */
  readonly prepared: Preparation | null;
  /** Time spent on measuring the KL of the update, s; null where nothing was measured. */
  readonly klSeconds: number | null;
}

/** An RL step that the guard had thrown away: what it takes to raise alarms for it and to save its batch. */
export interface UndoneStep extends Pick<UpdateResult, "values" | "contributions" | "refused" | "rollouts"> {
  readonly step: number;
  readonly phase: number;
  readonly policyVersion: number;
  /** Every group that ended, kept or not. */
  readonly groups: readonly Group[];
  readonly kept: readonly SampleGroup[];
}

/** The step that an error of `updatePolicy` threw away, also as the cause of another; null for other errors. */
export function undoneStepOf(error: unknown): UndoneStep | null {
  if (!WeirError.isInstance(error)) return null;
  if (error.code !== "WEIR_E_ROLLBACK") return undoneStepOf(error.cause);
  return (error.details.observation ?? null) as UndoneStep | null;
}

/**
 * Trains on kept groups and says what happened.
 * Errors: WEIR_E_POLICY_VERSION for rollouts that lag too far behind; WEIR_E_ROLLBACK where the guard says so (`undoneStepOf`); those of
 * the trainer other than WEIR_E_NON_FINITE.
 */
export async function updatePolicy(
  trainer: Trainer,
  kept: readonly SampleGroup[],
  given: UpdateOptions,
  signal: AbortSignal,
): Promise<UpdateResult> {
  assertLag(kept, given.policy, given.maxLag);
  const prepared = await prepare(kept, given, signal);
  const { groups, options } = prepared;
  const start = await scoreBefore(trainer, groups, options, signal);
  const { reference, weights, scored } = start;
  const book = new TokenBook();
  let compared: readonly ComparedResponse[] | null = null;
  const compare = (first: PolicyMetrics | null) => {
    compared ??= options.comparable ? comparedRows({ ...start, groups, first }) : [];
    return compared;
  };
  const run = await optimiseAll(
    trainer,
    inputsOf(groups, start, options),
    options,
    {
      book,
      valuesOf: (metrics) => ({ ...prepared.values, ...mismatchMetrics(mismatchIn(compare(metrics))) }),
    },
    signal,
  );
  const rows = compare(null);
  run.first?.logprobs.forEach((values, p) => {
    scored[p] ??= values;
  });
  const offPolicy = {
    lag: options.maxLag === 0 ? null : lagFacts(start.lags.flat(), rows, options.maxLag),
    correction: start.corrected && correctionFacts(start.corrected.flat(), options.correction?.importance !== null),
  };
  const done = { groups, scored, reference, book, run, compared: rows };
  const result: UpdateResult = {
    values: { ...prepared.values, ...updateValues(done, options), ...offPolicyMetrics(offPolicy) },
    updates: run.updates,
    mismatch: mismatchIn(rows),
    offPolicy,
    rollouts: rolloutsOf(done, start.lags, weights),
    rejected: new Set([...prepared.masked, ...rejectedOf(groups, weights)]),
    contributions: [...options.known.contributions, ...contributionsOf(done)],
    refused: run.refused,
    moved: run.moved,
    judged: run.judged,
    prepared: prepared.preparation,
    klSeconds: run.klMs === null ? null : run.klMs / 1000,
  };
  if (run.rolledBack !== null) throw undoneError(result, kept, options);
  return result;
}

function undoneError(
  { values, contributions, refused, rollouts, judged }: UpdateResult,
  kept: readonly SampleGroup[],
  { step, phase, policy, known }: UpdateOptions,
): WeirError {
  const { groups } = known;
  const policyVersion = policy.n;
  const undone: UndoneStep = { step, phase, policyVersion, groups, kept, values, contributions, refused, rollouts };
  return rollbackError(judged, undone);
}

interface Prepared {
  readonly preparation: Preparation | null;
  /** The groups that are trained on, with the guard's wishes carried out. */
  readonly groups: readonly SampleGroup[];
  /** Rollouts that the guard left out. */
  readonly masked: readonly string[];
  readonly options: UpdateOptions;
  /** Metrics that are known before any gradient. */
  readonly values: MetricValues;
}

/** Asks the guard how the step is to be trained. */
async function prepare(kept: readonly SampleGroup[], options: UpdateOptions, signal: AbortSignal): Promise<Prepared> {
  const { guard, step, phase, policy, loss, known, maxLag } = options;
  const lags = () => kept.flatMap(({ samples }) => samples.map(({ rollout }) => lagsOf(rollout, policy)));
  const lag = maxLag === 0 ? null : lagFacts(lags(), [], maxLag);
  const values = { ...known.values, ...offPolicyMetrics({ lag, correction: null }) };
  const { entropyCoefficient } = loss;
  const batch = { step, phase, policyVersion: policy.n, values, entropyCoefficient };
  const preparation = (await guard.prepare?.(batch, { signal })) ?? null;
  const isNegative = ({ advantages }: SampleGroup["samples"][number]) => advantages.length > 0 && mean(advantages) < 0;
  const left = preparation?.maskNegatives
    ? kept.map((group) => ({ ...group, samples: group.samples.filter((sample) => !isNegative(sample)) }))
    : kept;
  const masked = kept.flatMap(({ samples }, p) =>
    samples.filter((sample) => !left[p]?.samples.includes(sample)).map(({ rollout }) => rollout.id),
  );
  return {
    preparation,
    groups: left.filter(({ samples }, p) => samples.length > 0 || kept[p]?.samples.length === 0),
    masked,
    options: {
      ...options,
      loss: { ...loss, entropyCoefficient: preparation?.entropyCoefficient ?? entropyCoefficient },
    },
    values,
  };
}

/** What is known of the groups' tokens before the first gradient. */
interface Start {
  readonly lags: PerToken;
  readonly sampled: PerToken;
  /** Per group, what the trainer gives at the weights that it had at the start; null where it was not asked. */
  readonly scored: (PerToken[number] | null)[];
  /** Per group; null where the reference policy was not asked. */
  readonly reference: readonly (PerToken[number] | null)[];
  readonly corrected: readonly (readonly CorrectedTokens[])[] | null;
  readonly weights: PerToken | null;
  readonly probe: (Probe & { readonly logprobs: readonly number[] }) | null;
}

async function scoreBefore(
  trainer: Trainer,
  groups: readonly SampleGroup[],
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<Start> {
  const lags = groups.map(({ samples }) => samples.map(({ rollout }) => lagsOf(rollout, options.policy)));
  const sampled = groups.map((group) => group.samples.map((sample) => sample.rollout.samplerLogprobs));
  const sequences = groups.map(tokensOf);
  const read = async (which: "policy" | "reference", of: readonly GroupTokens[]) => {
    const { microBatchTokens, loss } = options;
    return (await trainer.logprobs(of, { signal, temperature: loss.temperature, which, microBatchTokens })).logprobs;
  };
  const first = Math.min(options.miniBatchPrompts ?? groups.length, groups.length);
  // The first optimiser step's own pass gives π_old of its groups, unless something needs π_old before it or after it.
  const stale = lags.some((group) => group.some((row) => row.some((lag) => lag > 0)));
  const own = options.epochs === 1 && options.correction === null && !stale ? first : 0;
  const scored: (PerToken[number] | null)[] = groups.map(() => null);
  if (options.oldLogprobs === "recompute" && groups.length > own)
    for (const [p, values] of (await read("policy", sequences.slice(own))).entries()) scored[own + p] = values;
  const reference: (PerToken[number] | null)[] = groups.map(() => null);
  const measured = referenceGroups(sequences, options);
  if (measured.length > 0) {
    const found = await read(
      "reference",
      measured.map((p) => sequences[p] as GroupTokens),
    );
    for (const [i, p] of measured.entries()) reference[p] = found[i] ?? null;
  }
  const corrected = options.correction === null ? null : correctGroups(scored, sampled, options.correction);
  const probe = trainer.capabilities.reusesActivations ? probeOf(sequences, scored, first) : null;
  const probed = probe === null ? null : ((await read("policy", [probe.tokens]))[0]?.[0] ?? []);
  return {
    lags,
    sampled,
    scored,
    reference,
    corrected,
    weights: corrected?.map((group) => group.map((tokens) => tokens.weights)) ?? null,
    probe: probe && { ...probe, logprobs: probed ?? [] },
  };
}

/** Positions of the groups that the reference policy is asked about. */
function referenceGroups(
  sequences: readonly GroupTokens[],
  { referenceShare, miniBatchPrompts }: UpdateOptions,
): number[] {
  const positions = sequences.map((_, p) => p);
  return miniBatches(positions, miniBatchPrompts).flatMap((batch) => {
    const chosen = measuredGroups(
      batch.map((p) => sequences[p] as GroupTokens),
      referenceShare,
    );
    return chosen.map((i) => batch[i] as number);
  });
}

function inputsOf(
  groups: readonly SampleGroup[],
  { sampled, scored, reference, weights }: Start,
  { oldLogprobs }: UpdateOptions,
): GroupInput[] {
  return groups.map((group, p) => ({
    group,
    old: (oldLogprobs === "sampler" ? sampled[p] : scored[p]) ?? null,
    reference: reference[p] ?? null,
    weights: weights?.[p] ?? null,
  }));
}

/** Errors: WEIR_E_STATE where a group's π_old is unknown. */
function correctGroups(
  scored: readonly (PerToken[number] | null)[],
  sampled: PerToken,
  correction: CorrectionOptions,
): CorrectedTokens[][] {
  return scored.map((group, p) => {
    if (group === null)
      throw new WeirError("WEIR_E_STATE", 'rollout correction needs the trainer\'s π_old: oldLogprobs "recompute"');
    return group.map((row, g) => correctTokens(row, sampled[p]?.[g] ?? [], correction));
  });
}

/** Log-probs of a row's tokens of lag 0. */
function atLagZero(which: "sampler" | "trainer") {
  return (row: ComparedRow) => row[which].filter((_, t) => row.lags[t] === 0);
}

function rejectedOf(groups: readonly SampleGroup[], weights: PerToken | null): Set<string> {
  if (weights === null) return new Set();
  return new Set(
    groups.flatMap(({ samples }, p) =>
      samples.flatMap(({ rollout }, g) => (isRejected(weights[p]?.[g] ?? []) ? rollout.id : [])),
    ),
  );
}

/** A completion that the trainer scores by a forward pass of its own. */
interface Probe {
  readonly group: number;
  readonly completion: number;
  readonly tokens: GroupTokens;
}

/**
 * One completion of the first mini-batch, for a trainer whose pass may reuse what sampling computed: without it nothing would show
 * where sampler and trainer differ. Which one follows from the tokens. Null where all groups have been scored already.
 */
function probeOf(
  sequences: readonly GroupTokens[],
  scored: readonly (PerToken[number] | null)[],
  first: number,
): Probe | null {
  const candidates = sequences
    .slice(0, first)
    .flatMap(({ promptIds, completions }, group) =>
      scored[group] !== null
        ? []
        : completions.map((ids, completion) => ({ group, completion, tokens: { promptIds, completions: [ids] } })),
    );
  const sum = candidates.reduce(
    (total, { tokens }) => (tokens.completions[0] as readonly number[]).reduce((a, b) => a + b, total),
    0,
  );
  return candidates[sum % candidates.length] ?? null;
}

/** A response that both sampler and trainer scored. */
interface ComparedResponse extends ComparedRow {
  readonly rolloutId: string;
}

interface Comparison extends Pick<Start, "sampled" | "lags" | "scored" | "probe"> {
  readonly groups: readonly SampleGroup[];
  /** Of the first optimiser step, for groups that the trainer had not scored before. */
  readonly first: PolicyMetrics | null;
}

/** Log-probs of the same rows by sampler and trainer, at the trainer's weights before the first optimiser step. */
function comparedRows({ groups, sampled, lags, scored, first, probe }: Comparison): ComparedResponse[] {
  const rowOf = (p: number, g: number, trainer: readonly number[]) => ({
    rolloutId: groups[p]?.samples[g]?.rollout.id ?? "",
    sampler: sampled[p]?.[g] ?? [],
    trainer,
    lags: lags[p]?.[g] ?? [],
  });
  return scored.flatMap((own, p) => {
    if (own !== null) return own.map((row, g) => rowOf(p, g, row));
    if (probe === null) return (first?.logprobs[p] ?? []).map((row, g) => rowOf(p, g, row));
    return probe.group === p ? [rowOf(p, probe.completion, probe.logprobs)] : [];
  });
}

/** Mismatch over the tokens of lag 0 of responses that were compared. */
const mismatchIn = (rows: readonly ComparedRow[]): Mismatch =>
  mismatchOf(rows.map(atLagZero("sampler")), rows.map(atLagZero("trainer")));

/** What is known once the last optimiser step has been taken. */
interface Done {
  readonly groups: readonly SampleGroup[];
  readonly scored: readonly (PerToken[number] | null)[];
  readonly reference: Start["reference"];
  readonly book: TokenBook;
  readonly run: MiniBatchRun;
  readonly compared: readonly ComparedResponse[];
}

/** Metrics of the update. */
function updateValues(done: Done, options: UpdateOptions): MetricValues {
  const { run, book, compared, groups } = done;
  const { phases } = options.known;
  const { klEstimator, klClamp } = options.loss;
  const promptTokens = new Map(
    groups.flatMap(({ group, samples }) =>
      samples.map(({ rollout }) => [rollout.id, group.task.promptTokens] as const),
    ),
  );
  const moved = book.movedTokens().map(({ rolloutId, perToken }): MeasuredResponse => {
    return { promptTokens: promptTokens.get(rolloutId) ?? 0, values: perToken };
  });
  const references = referenceRows(done, (own, reference) => klEstimate(own, reference, klEstimator, klClamp));
  const responses = references.map(({ group, perToken }): MeasuredResponse => {
    return { promptTokens: group.group.task.promptTokens, values: perToken };
  });
  const measures = run.updates.flatMap(({ kl }) => (kl === null ? [] : [kl]));
  // A step that is thrown away is judged by what it would have done.
  const trial = run.rolledBack?.evidence.trial ?? null;
  return {
    ...updateMetrics(run.updates, groups),
    ...mismatchMetrics(mismatchIn(compared)),
    ...gradientMetrics(book.allGradients),
    ...updateKlMetrics(trial === null ? measures : [trial]),
    ...bucketMeans("kl/update_bucket_", moved, phases),
    ...referenceError(responses),
    ...bucketMeans("kl/ref_bucket_", responses, phases),
    "guard/skipped": run.judged.filter(({ verdict }) => verdict.action !== "shrink").length,
    "guard/shrunk": run.judged.filter(({ verdict }) => verdict.action === "shrink").length,
  };
}

/** A number per token of each response whose log-probs are known at the weights before the step, and at the reference's. */
function referenceRows({ groups, scored, reference }: Done, of: (own: number, reference: number) => number) {
  return groups.flatMap((group, p) =>
    group.samples.flatMap(({ rollout }, g) => {
      const own = scored[p]?.[g];
      const other = reference[p]?.[g];
      if (own === undefined || other === undefined) return [];
      return [{ group, rolloutId: rollout.id, perToken: own.map((value, t) => of(value, other[t] ?? Number.NaN)) }];
    }),
  );
}

const k3 = (own: number, other: number) => klEstimate(own, other, "k3", false);

function rolloutsOf(done: Done, lags: PerToken, weights: PerToken | null): Map<string, TrainedRollout> {
  const facts = done.book.facts();
  const klRef = new Map(referenceRows(done, k3).map(({ rolloutId, perToken }) => [rolloutId, perToken]));
  return new Map(
    done.groups.flatMap(({ samples }, p) =>
      samples.map(({ rollout: { id } }, g): [string, TrainedRollout] => {
        const lag = (lags[p]?.[g] ?? []).reduce((most, of) => Math.max(most, of), 0);
        const tokens = facts.get(id) ?? null;
        return [id, { lag, weights: weights?.[p]?.[g] ?? null, tokens, klRef: klRef.get(id) ?? null }];
      }),
    ),
  );
}

/** What each rollout brings to the metrics of the update, by the quantity that the metric is made of (I15). */
function contributionsOf(done: Done): Contribution[] {
  const { book, compared } = done;
  const of = (metric: MetricName, rows: readonly TokenValues[]) =>
    contributionsOfTokens(
      metric,
      rows.map(({ rolloutId, perToken }) => ({
        rolloutId,
        perToken: perToken.map((value) => (Number.isNaN(value) ? 0 : value)),
      })),
    );
  /** The largest token in the place of the sum. */
  const largest = (metric: MetricName, rows: readonly TokenValues[]) =>
    of(metric, rows).map((one, i) => ({ ...one, contribution: rows[i]?.perToken[one.tokenIndex] ?? 0 }));
  const gaps = compared.map(({ rolloutId, sampler, trainer, lags }): TokenValues => {
    // Tokens of other versions have no share in the mismatch.
    const gap = (t: number) => (lags[t] === 0 ? Math.abs((trainer[t] ?? Number.NaN) - (sampler[t] ?? Number.NaN)) : 0);
    return { rolloutId, perToken: lags.map((_, t) => gap(t)) };
  });
  const moved = book.movedTokens();
  return [
    ...of("kl/update", moved),
    ...largest("kl/update_max", moved),
    ...of(
      KL_METRIC,
      book.tokenValues(({ ratio }) => ratioKl(ratio)),
    ),
    ...of(MISMATCH_METRIC, gaps),
    ...of(REFERENCE_METRIC, referenceRows(done, k3)),
    ...of(
      "gradient/norm",
      book.tokenValues(({ ratio, advantage, weight }) => Math.abs(advantage * ratio * weight)),
    ),
    ...largest(
      "ratio/max",
      book.tokenValues(({ ratio }) => ratio),
    ),
    ...largest(
      "advantage/max_abs",
      book.tokenValues(({ advantage }) => Math.abs(advantage)),
    ),
  ];
}
