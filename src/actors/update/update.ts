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
import { denominatorsOf, miniBatches, type PerToken, trainGroups } from "../../streams/batches.js";
import {
  contributionsOfTokens,
  ENTROPY_METRIC,
  KL_METRIC,
  MISMATCH_METRIC,
  REFERENCE_METRIC,
  type SpikeContribution,
} from "../../streams/telemetry/spike-detector.js";
import { type Mismatch, mismatchOf, type UpdateFacts } from "../../streams/telemetry/step-metrics.js";
import { type GuardedOutcome, guardedStep, type JudgedUpdate, judgedOf, rollbackError } from "../guard/guard.js";

/**
 * The update of one RL step: old (and reference) log-probs, mini-batches, optimiser steps.
 * Invariants: denominators are those of the whole mini-batch (I6); a mini-batch whose loss or gradient is not finite, or that the
 * guard skips, changes no weight and is handed back for saving (I7); rollouts of another version than the trainer's are refused
 * (I13); sampler and trainer log-probs at the same version are compared (I8).
 */

export interface UpdateOptions {
  readonly step: number;
  readonly phase: number;
  /** The version that the trainer holds, which sampled the rollouts. */
  readonly policy: PolicyVersion;
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

export interface UpdateResult {
  readonly updates: readonly UpdateFacts[];
  readonly mismatch: Mismatch;
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
 * Errors: WEIR_E_POLICY_VERSION for rollouts of another version; WEIR_E_ROLLBACK where the guard says so; those of the trainer other
 * than WEIR_E_NON_FINITE.
 */
export async function updatePolicy(
  trainer: Trainer,
  groups: readonly SampleGroup[],
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<UpdateResult> {
  assertSampledBy(groups, options.policy);
  const sampled = groups.map((group) => group.samples.map((sample) => sample.rollout.samplerLogprobs));
  const sequences = groups.map(sequencesOf);
  const read = async (which: "policy" | "reference", of: readonly GroupTokens[]) => {
    const { microBatchTokens, loss } = options;
    return (await trainer.logprobs(of, { signal, temperature: loss.temperature, which, microBatchTokens })).logprobs;
  };
  const batches = miniBatches(groups, options.miniBatchPrompts);
  /** Per group, what the trainer gives at the weights that sampled. */
  const scored: (PerToken[number] | null)[] = groups.map(() => null);
  const fill = (start: number, values: PerToken) => {
    values.forEach((value, p) => {
      scored[start + p] ??= value;
    });
  };
  // The first optimiser step's own pass sees the weights that sampled: its groups are not scored before.
  const own = options.epochs === 1 ? (batches[0]?.length ?? 0) : 0;
  if (options.oldLogprobs === "recompute" && groups.length > own) fill(own, await read("policy", sequences.slice(own)));
  const reference = options.withReference && groups.length > 0 ? await read("reference", sequences) : null;
  const old = (start: number, end: number) => {
    if (options.oldLogprobs === "sampler") return sampled.slice(start, end);
    return start < own ? null : (scored.slice(start, end) as PerToken);
  };
  const probe = trainer.capabilities.reusesActivations ? probeOf(sequences, scored, batches[0]?.length ?? 0) : null;
  const probed = probe === null ? null : ((await read("policy", [probe.tokens]))[0]?.[0] ?? []);

  const run = await optimiseAll(trainer, batches, { options, old, reference }, signal);
  const compared = options.comparable
    ? comparedRows(sampled, scored, run.first, probe && { ...probe, logprobs: probed ?? [] })
    : [];
  if (run.first !== null) fill(0, run.first.logprobs);
  const known = [...scored.keys()].filter((p) => scored[p] !== null);
  const contributing = known.map((p) => groups[p] as SampleGroup);
  const atSampling = known.map((p) => scored[p] as PerToken[number]);
  return {
    updates: run.updates,
    mismatch: mismatchOf(
      compared.map(({ sampler }) => sampler),
      compared.map(({ trainer: values }) => values),
    ),
    contributions: contributionsOf(contributing, atSampling, reference && known.map((p) => reference[p] ?? [])),
    refused: run.refused,
    moved: run.moved,
    judged: run.judged,
  };
}

/** Errors: WEIR_E_POLICY_VERSION where a token was drawn from other weights than those that the trainer holds. */
function assertSampledBy(groups: readonly SampleGroup[], policy: PolicyVersion): void {
  for (const { rollout } of groups.flatMap((group) => group.samples)) {
    const other = rollout.policy.find(({ version, sha256 }) => version !== policy.n || sha256 !== policy.sha256);
    if (other === undefined) continue;
    throw new WeirError(
      "WEIR_E_POLICY_VERSION",
      `rollout ${rollout.id} has tokens of policy version ${other.version} (${other.sha256.slice(0, 12)}…), the trainer holds ${policy.n} ` +
        `(${policy.sha256.slice(0, 12)}…): its log-probs would be taken for those of another policy. Let the sampler adopt each version`,
      { rollout: rollout.id, sampled: other.version, trainer: policy.n },
    );
  }
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

interface MiniBatchInput {
  readonly options: UpdateOptions;
  /** Old log-probs of groups [start, end); null where they are the trainer's own. */
  readonly old: (start: number, end: number) => PerToken | null;
  readonly reference: PerToken | null;
}

async function optimiseAll(
  trainer: Trainer,
  batches: readonly (readonly SampleGroup[])[],
  { options, old, reference }: MiniBatchInput,
  signal: AbortSignal,
): Promise<MiniBatchRun> {
  const run: { -readonly [K in keyof MiniBatchRun]: MiniBatchRun[K] } = {
    updates: [],
    refused: [],
    moved: new Set(),
    judged: [],
    first: null,
  };
  let miniBatch = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    let start = 0;
    for (const groups of batches) {
      const end = start + groups.length;
      const given = { groups, old: old(start, end), reference: reference?.slice(start, end) ?? null, miniBatch };
      const { metrics, step } = await optimise(trainer, given, options, signal).catch((error) => {
        const last = judgedOf(error);
        throw last.length === 0 ? error : rollbackError([...run.judged, ...last]);
      });
      const [gradNorm, applied] = step.committed ? [step.reply.gradNorm, step.reply.applied] : [step.gradNorm, false];
      if (metrics !== null) run.updates.push({ metrics, gradNorm, applied });
      if (applied) for (const { group } of groups) run.moved.add(group.id);
      else {
        const finite = !step.committed && step.judged.evidence.nonFinite.length === 0;
        run.refused.push({ groups, cause: finite ? "guard" : "non_finite" });
      }
      if (!step.committed) run.judged.push(step.judged);
      if (miniBatch === 0) run.first = metrics;
      start = end;
      miniBatch++;
    }
  }
  return run;
}

/**
 * Log-probs of the same rows by sampler and trainer, at the weights that sampled. `scored`: those of groups that the trainer
 * scored before the first optimiser step; `first`: that step's, for the other groups it had, or `probe` in their place.
 */
function comparedRows(
  sampled: PerToken,
  scored: readonly (PerToken[number] | null)[],
  first: PolicyMetrics | null,
  probe: (Probe & { readonly logprobs: readonly number[] }) | null,
): { readonly sampler: readonly number[]; readonly trainer: readonly number[] }[] {
  const rowsOf = (p: number, trainer: PerToken[number]) =>
    trainer.map((row, g) => ({ sampler: sampled[p]?.[g] ?? [], trainer: row }));
  return scored.flatMap((own, p) => {
    if (own !== null) return rowsOf(p, own);
    if (probe === null) return rowsOf(p, first?.logprobs[p] ?? []);
    if (probe.group !== p) return [];
    return [{ sampler: sampled[p]?.[probe.completion] ?? [], trainer: probe.logprobs }];
  });
}

interface MiniBatch {
  readonly groups: readonly SampleGroup[];
  readonly old: PerToken | null;
  readonly reference: PerToken | null;
  readonly miniBatch: number;
}

function optimise(
  trainer: Trainer,
  { groups, old, reference, miniBatch }: MiniBatch,
  options: UpdateOptions,
  signal: AbortSignal,
): Promise<GuardedOutcome<PolicyMetrics>> {
  const { step, phase, policy, guard, optimiser, withReference } = options;
  const batch = {
    groups: trainGroups(groups, old, reference),
    loss: options.loss,
    denominators: denominatorsOf(groups),
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

/** Who contributed how much to the step's KL, mismatch and entropy, per rollout. */
function contributionsOf(
  groups: readonly SampleGroup[],
  trainer: PerToken,
  reference: PerToken | null,
): SpikeContribution[] {
  const rows = groups.flatMap((group, p) => group.samples.map((sample, g) => ({ sample, p, g })));
  const of = (metric: MetricName, perToken: (row: (typeof rows)[number]) => number[]) =>
    contributionsOfTokens(
      metric,
      rows.map((row) => ({ rolloutId: row.sample.rollout.id, perToken: perToken(row) })),
    );
  /** log π − log π_other per token; 0 where a log-prob is missing. */
  const gaps = ({ p, g }: (typeof rows)[number], other: readonly number[]) =>
    (trainer[p]?.[g] ?? []).map((value, t) => value - (other[t] ?? value));
  const sampled = (row: (typeof rows)[number]) => gaps(row, row.sample.rollout.samplerLogprobs);
  const k3 = (d: number) => klEstimate(d, 0, "k3", false);
  return [
    ...of(KL_METRIC, (row) => sampled(row).map(k3)),
    ...of(MISMATCH_METRIC, (row) => sampled(row).map(Math.abs)),
    ...of(ENTROPY_METRIC, ({ sample }) => [...(sample.rollout.entropies ?? [])]),
    ...(reference === null ? [] : of(REFERENCE_METRIC, (row) => gaps(row, reference[row.p]?.[row.g] ?? []).map(k3))),
  ];
}
