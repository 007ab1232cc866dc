import { klEstimate } from "../../algorithms/kl.js";
import { mean } from "../../algorithms/statistics.js";
import type { SampleGroup } from "../../contracts/group.js";
import type { Evidence, Guard } from "../../contracts/guard.js";
import type { MetricName } from "../../contracts/metrics.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type {
  EvaluateLoss,
  OldLogprobSource,
  OptimiserConfig,
  PolicyLossConfig,
  PolicyMetrics,
  Trainer,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { type CorrectedTokens, type CorrectionOptions, correctTokens } from "../../losses/rollout-correction.js";
import { denominatorsOf, miniBatches, type PerToken, trainGroups } from "../../streams/batches.js";
import { assertLag, lagsOf } from "../../streams/lag.js";
import {
  type ComparedRow,
  correctionFacts,
  lagFacts,
  type OffPolicyFacts,
} from "../../streams/telemetry/off-policy-metrics.js";
import {
  contributionsOfTokens,
  ENTROPY_METRIC,
  KL_METRIC,
  MISMATCH_METRIC,
  REFERENCE_METRIC,
  type SpikeContribution,
} from "../../streams/telemetry/spike-detector.js";
import { type Mismatch, mismatchOf, type UpdateFacts } from "../../streams/telemetry/step-metrics.js";
import { type GuardedOutcome, guardedStep, type JudgedUpdate, rollbackError } from "../guard/guard.js";

/**
 * The update of one RL step: old (and reference) log-probs, rollout correction, mini-batches, optimiser steps.
 * Invariants: denominators are those of the whole mini-batch (I6); a mini-batch whose loss or gradient is not finite, or that the
 * guard skips, changes no weight and is handed back for saving (I7); rollouts that lag more than `maxLag` versions behind the trainer
 * are refused (I13); sampler and trainer log-probs at the same version are compared (I8).
 */

export interface UpdateOptions {
  readonly step: number;
  readonly phase: number;
  /** The version that the trainer holds: π_old. */
  readonly policy: PolicyVersion;
  /** Largest number of versions by which a token's sampler may be older; 0 takes tokens of `policy` only. */
  readonly maxLag: number;
  /** Null: every token has weight 1. Needs `oldLogprobs: "recompute"`. */
  readonly correction: CorrectionOptions | null;
  readonly guard: Guard;
  /** The sampler's log-probs are of the same distribution as the trainer's, so that they can be compared. */
  readonly comparable: boolean;
  readonly loss: PolicyLossConfig;
  /** The loss where `loss.name` is null. */
  readonly evaluate?: EvaluateLoss;
  readonly optimiser: OptimiserConfig;
  readonly miniBatchPrompts: number | null;
  readonly epochs: number;
  readonly microBatchTokens: number;
  readonly oldLogprobs: OldLogprobSource;
  /** Compute log-probs of the reference policy (for the KL term or its metric). */
  readonly withReference: boolean;
}

/** A mini-batch that changed no weight. */
export interface RefusedBatch {
  readonly groups: readonly SampleGroup[];
  readonly cause: "non_finite" | "guard";
}

/** What the update knows of a rollout. */
export interface TrainedRollout {
  /** Largest lag of its tokens, versions. */
  readonly lag: number;
  /** Weight of each token from rollout correction; null without correction. */
  readonly weights: readonly number[] | null; // [T]
}

export interface UpdateResult {
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
  readonly offPolicy: OffPolicyFacts;
  /** By rollout id. */
  readonly rollouts: ReadonlyMap<string, TrainedRollout>;
  /** Ids of rollouts of which rejection left no token: they entered no loss. */
  readonly rejected: ReadonlySet<string>;
  /** Shares of rollouts in the metrics that the spike detector watches. */
  readonly contributions: readonly SpikeContribution[];
  readonly refused: readonly RefusedBatch[];
  /** Ids of groups that moved the weights, in one epoch at least. */
  readonly moved: ReadonlySet<string>;
  /** Verdicts other than commit, in order. */
  readonly judged: readonly JudgedUpdate[];
}

/**
 * Trains on kept groups and says what happened.
 * Errors: WEIR_E_POLICY_VERSION for rollouts that lag too far behind; WEIR_E_ROLLBACK where the guard says so; those of the trainer
 * other than WEIR_E_NON_FINITE.
 */
export async function updatePolicy(
  trainer: Trainer,
  groups: readonly SampleGroup[],
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<UpdateResult> {
  assertLag(groups, options.policy, options.maxLag);
  const lags = groups.map(({ samples }) => samples.map(({ rollout }) => lagsOf(rollout, options.policy)));
  const sampled = groups.map((group) => group.samples.map((sample) => sample.rollout.samplerLogprobs));
  const sequences = groups.map(sequencesOf);
  const read = async (which: "policy" | "reference", of: readonly GroupTokens[]) => {
    const { microBatchTokens, loss } = options;
    return (await trainer.logprobs(of, { signal, temperature: loss.temperature, which, microBatchTokens })).logprobs;
  };
  const first = miniBatches(groups, options.miniBatchPrompts)[0]?.length ?? 0;
  // The first optimiser step's own pass gives π_old of its groups, unless something needs π_old before it or after it.
  const stale = lags.some((group) => group.some((row) => row.some((lag) => lag > 0)));
  const own = options.epochs === 1 && options.correction === null && !stale ? first : 0;
  /** Per group, what the trainer gives at the weights that it had at the start. */
  const scored: (PerToken[number] | null)[] = groups.map(() => null);
  if (options.oldLogprobs === "recompute" && groups.length > own)
    for (const [p, values] of (await read("policy", sequences.slice(own))).entries()) scored[own + p] = values;
  const reference = options.withReference && groups.length > 0 ? await read("reference", sequences) : null;
  const corrected = options.correction === null ? null : correctGroups(scored, sampled, options.correction);
  const weights = corrected?.map((group) => group.map((tokens) => tokens.weights)) ?? null;
  const old = (p: number) => (options.oldLogprobs === "sampler" ? sampled[p] : scored[p]) ?? null;
  const probe = trainer.capabilities.reusesActivations ? probeOf(sequences, scored, first) : null;
  const probed = probe === null ? null : ((await read("policy", [probe.tokens]))[0]?.[0] ?? []);

  const inputs = groups.map(
    (group, p): GroupInput => ({
      group,
      old: old(p),
      reference: reference?.[p] ?? null,
      weights: weights?.[p] ?? null,
    }),
  );
  const run = await optimiseAll(trainer, inputs, options, signal);
  const compared = options.comparable
    ? comparedRows({ sampled, lags, scored, first: run.first, probe: probe && { ...probe, logprobs: probed ?? [] } })
    : [];
  run.first?.logprobs.forEach((values, p) => {
    scored[p] ??= values;
  });
  return {
    updates: run.updates,
    mismatch: mismatchOf(compared.map(atLagZero("sampler")), compared.map(atLagZero("trainer"))),
    offPolicy: {
      lag: options.maxLag === 0 ? null : lagFacts(lags.flat(), compared, options.maxLag),
      correction: corrected && correctionFacts(corrected.flat(), options.correction?.importance !== null),
    },
    rollouts: rolloutsOf(groups, lags, weights),
    rejected: rejectedOf(groups, weights),
    contributions: contributionsOf(groups, lags, scored, reference),
    refused: run.refused,
    moved: run.moved,
    judged: run.judged,
  };
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

function rolloutsOf(groups: readonly SampleGroup[], lags: PerToken, weights: PerToken | null) {
  return new Map(
    groups.flatMap(({ samples }, p) =>
      samples.map(({ rollout }, g): [string, TrainedRollout] => {
        const lag = (lags[p]?.[g] ?? []).reduce((most, of) => Math.max(most, of), 0);
        return [rollout.id, { lag, weights: weights?.[p]?.[g] ?? null }];
      }),
    ),
  );
}

const isRejected = (weights: readonly number[]) => weights.every((weight) => weight === 0);

function rejectedOf(groups: readonly SampleGroup[], weights: PerToken | null): Set<string> {
  if (weights === null) return new Set();
  return new Set(
    groups.flatMap(({ samples }, p) =>
      samples.flatMap(({ rollout }, g) => (isRejected(weights[p]?.[g] ?? []) ? rollout.id : [])),
    ),
  );
}

interface GroupTokens {
  readonly promptIds: readonly number[];
  readonly completions: readonly (readonly number[])[];
}

function sequencesOf(group: SampleGroup): GroupTokens {
  return {
    promptIds: group.samples[0]?.rollout.promptIds ?? [],
    completions: group.samples.map((sample) => sample.rollout.tokenIds),
  };
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

interface MiniBatchRun {
  readonly updates: UpdateFacts[];
  readonly refused: RefusedBatch[];
  readonly moved: Set<string>;
  readonly judged: JudgedUpdate[];
  /** Of the first mini-batch in the first epoch. */
  readonly first: PolicyMetrics | null;
}

/** A group with what the loss needs of its tokens. */
interface GroupInput {
  readonly group: SampleGroup;
  /** Null where π_old is the trainer's present policy. */
  readonly old: PerToken[number] | null;
  readonly reference: PerToken[number] | null;
  readonly weights: PerToken[number] | null;
}

/** Null where one is null; all groups of a mini-batch have it, or none. */
function allOf(values: readonly (PerToken[number] | null)[]): PerToken | null {
  return values.includes(null) ? null : (values as PerToken);
}

async function optimiseAll(
  trainer: Trainer,
  inputs: readonly GroupInput[],
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<MiniBatchRun> {
  const run: { -readonly [K in keyof MiniBatchRun]: MiniBatchRun[K] } = {
    updates: [],
    refused: [],
    moved: new Set(),
    judged: [],
    first: null,
  };
  // A group whose tokens are all rejected is in no mini-batch; a mini-batch of such groups alone is no optimiser step.
  const batches = miniBatches(inputs, options.miniBatchPrompts)
    .map((batch) => batch.filter(({ weights }) => weights === null || !weights.every(isRejected)))
    .filter((batch) => batch.length > 0);
  let miniBatch = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    for (const batch of batches) {
      const { metrics, step } = await optimise(trainer, batch, miniBatch, options, signal);
      if (!step.committed && step.judged.verdict.action === "rollback")
        throw rollbackError([...run.judged, step.judged]);
      const [gradNorm, applied] = step.committed ? [step.reply.gradNorm, step.reply.applied] : [step.gradNorm, false];
      if (metrics !== null) run.updates.push({ metrics, gradNorm, applied });
      if (applied) for (const { group } of batch) run.moved.add(group.group.id);
      else {
        const finite = !step.committed && step.judged.evidence.nonFinite.length === 0;
        run.refused.push({ groups: batch.map(({ group }) => group), cause: finite ? "guard" : "non_finite" });
      }
      if (step.judged !== null) run.judged.push(step.judged);
      if (miniBatch === 0) run.first = metrics;
      miniBatch++;
    }
  }
  return run;
}

interface Comparison {
  readonly sampled: PerToken;
  readonly lags: PerToken;
  /** Of groups that the trainer scored before the first optimiser step. */
  readonly scored: readonly (PerToken[number] | null)[];
  /** Of the first optimiser step, for the other groups that it had. */
  readonly first: PolicyMetrics | null;
  /** In the place of `first`. */
  readonly probe: (Probe & { readonly logprobs: readonly number[] }) | null;
}

/** Log-probs of the same rows by sampler and trainer, at the trainer's weights before the first optimiser step. */
function comparedRows({ sampled, lags, scored, first, probe }: Comparison): ComparedRow[] {
  const rowOf = (p: number, g: number, trainer: readonly number[]) => ({
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

function optimise(
  trainer: Trainer,
  inputs: readonly GroupInput[],
  miniBatch: number,
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<GuardedOutcome<PolicyMetrics>> {
  const { step, phase, policy, guard, optimiser, withReference } = options;
  const groups = inputs.map(({ group }) => group);
  const old = allOf(inputs.map((input) => input.old));
  const weights = allOf(inputs.map((input) => input.weights));
  const batch = {
    groups: trainGroups(groups, old, allOf(inputs.map(({ reference }) => reference)), weights),
    loss: options.loss,
    denominators: denominatorsOf(groups, weights),
    microBatchTokens: options.microBatchTokens,
    oldPolicy: old === null ? policy : null,
  };
  const call = options.evaluate === undefined ? { signal } : { signal, evaluate: options.evaluate };
  return guardedStep(
    trainer,
    guard,
    {
      base: { stage: "rl", step, phase, miniBatch, policy, groups: groups.map(groupEvidence) },
      optimiser,
      gradient: () => trainer.forwardBackward(batch, call),
      policyOf: ({ klRef, klOldK3, entropy, clipFraction, ratioMax }) => ({
        klRef: withReference ? klRef : null,
        klOldK3,
        entropy,
        clipFraction,
        ratioMax,
      }),
      valuesOf: () => ({}),
      measure: null,
      trial: false,
    },
    signal,
  );
}

function groupEvidence({ group, samples }: SampleGroup): Evidence["groups"][number] {
  const lengths = samples.map(({ rollout }) => rollout.tokenIds.length);
  return {
    groupId: group.id,
    taskId: group.task.id,
    rewards: samples.map(({ reward }) => reward),
    meanLength: lengths.length === 0 ? 0 : mean(lengths),
  };
}

/** Who contributed how much to the step's KL, mismatch and entropy, per rollout of the groups that the trainer scored. */
function contributionsOf(
  groups: readonly SampleGroup[],
  lags: PerToken,
  scored: readonly (PerToken[number] | null)[],
  reference: PerToken | null,
): SpikeContribution[] {
  const rows = groups.flatMap((group, p) =>
    scored[p] === null ? [] : group.samples.map((sample, g) => ({ sample, p, g })),
  );
  const of = (metric: MetricName, perToken: (row: (typeof rows)[number]) => number[]) =>
    contributionsOfTokens(
      metric,
      rows.map((row) => ({ rolloutId: row.sample.rollout.id, perToken: perToken(row) })),
    );
  /** log π − log π_other per token; 0 where a log-prob is missing. */
  const gaps = ({ p, g }: (typeof rows)[number], other: readonly number[]) =>
    (scored[p]?.[g] ?? []).map((value, t) => value - (other[t] ?? value));
  const sampled = (row: (typeof rows)[number]) => gaps(row, row.sample.rollout.samplerLogprobs);
  /** Tokens of other versions have no share in the mismatch. */
  const mismatched = (row: (typeof rows)[number]) =>
    sampled(row).map((d, t) => (lags[row.p]?.[row.g]?.[t] === 0 ? Math.abs(d) : 0));
  const k3 = (d: number) => klEstimate(d, 0, "k3", false);
  return [
    ...of(KL_METRIC, (row) => sampled(row).map(k3)),
    ...of(MISMATCH_METRIC, mismatched),
    ...of(ENTROPY_METRIC, ({ sample }) => [...(sample.rollout.entropies ?? [])]),
    ...(reference === null ? [] : of(REFERENCE_METRIC, (row) => gaps(row, reference[row.p]?.[row.g] ?? []).map(k3))),
  ];
}
