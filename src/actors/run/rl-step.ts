import { overlongPenalty } from "../../algorithms/overlong.js";
import { learningRateMultiplier } from "../../algorithms/schedules.js";
import type { Knobs } from "../../config/knobs.js";
import type { Config } from "../../config/schema.js";
import type { LagStatus } from "../../contracts/actor-status.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { LossPart } from "../../contracts/loss.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { SamplingParams } from "../../contracts/sampler.js";
import type { EvaluateLoss, OptimiserConfig, PolicyLossConfig } from "../../contracts/trainer.js";
import { builtInLoss } from "../../losses/built-in.js";
import { lossSettings } from "../../losses/settings.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import type { FormedBatch } from "../../streams/batch-former.js";
import type { RolloutOptions } from "../../streams/rollout-stages.js";
import { batchFacts } from "../../streams/telemetry/batch-facts.js";
import type { MetricValues } from "../../streams/telemetry/metrics.js";
import { type IdleCause, idleCauseOf } from "../../streams/telemetry/stall-detector.js";
import { costMetrics } from "../../streams/telemetry/step-metrics.js";
import { countByJudge } from "../reward/behaviour-counts.js";
import { type UpdateResult, updatePolicy } from "../update/update.js";
import { logprobsComparable } from "./capabilities.js";
import { turnedClips } from "./knobs.js";
import { correctionOf } from "./off-policy.js";
import { guardOfBatch } from "./orders.js";
import { needsReference, type RunContext } from "./run-context.js";
import { samplerCalls, sampleTimeoutMs } from "./sampler-engines.js";
import { saveBatch } from "./save-batch.js";

/**
 * One RL step: the pipeline's next batch, trained on and published, with the numbers that say what it was. What the pipeline's stages
 * need of the configuration is here too.
 */

/** Sampling of the RL stage. */
export function rolloutSampling(config: Config, stopIds: readonly number[]): SamplingParams {
  const { temperature, topP, topK, maxTokens } = config.rollout;
  return { temperature, topP, topK, maxTokens, stopIds };
}

/** The loss of a configuration, and how it is evaluated where it is one of the user's own. */
export function policyLoss(
  config: Config,
  part: LossPart,
  knobs: Knobs = {},
): { readonly loss: PolicyLossConfig; readonly evaluate?: EvaluateLoss } {
  const { loss, rollout } = config;
  const builtIn = builtInLoss(part);
  return {
    loss: {
      name: builtIn?.name ?? null,
      settings: builtIn === null ? lossSettings(null) : { ...builtIn.settings, ...turnedClips(builtIn.name, knobs) },
      aggregation: loss.aggregation ?? part.aggregation,
      lossScale: loss.scaleTokens ?? rollout.maxTokens,
      klCoefficient: loss.klCoefficient,
      klEstimator: loss.klEstimator,
      klClamp: loss.klClamp,
      entropyCoefficient: loss.entropyCoefficient,
      temperature: rollout.temperature,
    },
    ...(builtIn === null ? { evaluate: (sequences) => part.evaluate(sequences) } : {}),
  };
}

/** AdamW settings of RL step `step` (1-based). */
export function rlOptimiser(config: Config, step: number): OptimiserConfig {
  const { optimiser, phases } = config;
  const totalSteps = phases.reduce((sum, phase) => sum + phase.steps, 0);
  // With a warm-up the count begins at 1, so that no step has rate 0: neither the first, nor the last of a cosine.
  const first = optimiser.warmupSteps > 0 ? 1 : 0;
  const multiplier = learningRateMultiplier(step - 1 + first, {
    kind: optimiser.schedule,
    warmupSteps: Math.min(optimiser.warmupSteps, totalSteps),
    totalSteps: totalSteps + first,
    minRatio: optimiser.finalShare,
  });
  return {
    learningRate: optimiser.learningRate * multiplier,
    betas: [optimiser.beta1, optimiser.beta2],
    epsilon: optimiser.epsilon,
    weightDecay: optimiser.weightDecay,
    decayScope: optimiser.decayScope,
    maxGradNorm: optimiser.maxGradNorm,
  };
}

/** What the stages that make groups take from the configuration. */
export function rolloutOptions({
  config,
  tokenizer,
  parts,
}: Pick<RunContext, "config" | "tokenizer" | "parts">): Omit<RolloutOptions, "policy"> {
  const { rollout, reward, run } = config;
  const overlong = {
    maxTokens: rollout.maxTokens,
    bufferTokens: reward.overlong.bufferTokens,
    factor: reward.overlong.factor,
    mode: reward.mode,
  };
  return {
    seed: run.seed,
    groupSize: rollout.groupSize,
    queueGroups: rollout.queueGroups,
    rewardConcurrency: reward.concurrency,
    rewardTimeoutMs: reward.timeoutMs,
    callsInFlight: parts.workQueue === undefined ? samplerCalls(config) : config.workQueue.maxTasks,
    sampleTimeoutMs: sampleTimeoutMs(config),
    sampling: rolloutSampling(config, withEndOfTurn(parts.trainer.model.stopIds, tokenizer.endOfTurn)),
    shape: (value, length) => value + overlongPenalty(length, overlong),
    decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: false }),
  };
}

/** Trains on a batch as the configuration says; meanwhile the judge counts behaviours in a share of its responses. */
export async function trainBatch(
  context: RunContext,
  kept: readonly SampleGroup[],
  batch: FormedBatch,
  policy: PolicyVersion,
  signal: AbortSignal,
): Promise<UpdateResult> {
  const { behaviours } = context.config.reward;
  const judge = behaviours.judgeShare > 0 ? (context.judge?.() ?? null) : null;
  if (judge === null) return updateOn(context, kept, batch, policy, signal);
  // Counting ends with the update, also with one that fails.
  const ended = new AbortController();
  const counting = countByJudge(
    judge,
    batch.ended.flatMap(({ members }) => members.map(({ rollout }) => rollout)),
    {
      share: behaviours.judgeShare,
      timeoutMs: behaviours.timeoutMs,
      seed: context.config.run.seed,
      signal: AbortSignal.any([signal, ended.signal]),
      timers: context.time,
    },
  );
  counting.catch(() => undefined);
  try {
    const update = await updateOn(context, kept, batch, policy, signal);
    const { counts, values } = await counting;
    return { ...update, values: { ...update.values, ...values }, judgedBehaviours: counts };
  } finally {
    ended.abort();
  }
}

function updateOn(
  context: RunContext,
  kept: readonly SampleGroup[],
  batch: FormedBatch,
  policy: PolicyVersion,
  signal: AbortSignal,
): Promise<UpdateResult> {
  const { config, parts, phases, time, progress } = context;
  const guard = guardOfBatch(context);
  const step = context.progress.step + 1;
  const phase = phaseOf(context);
  const groups = batch.ended;
  const facts = batchFacts({
    // With overlap groups of the phase before may have finished since.
    groups: groups.filter((group) => group.phase === phase),
    kept,
    dropped: batch.dropped,
    rounds: batch.rounds,
    phases,
    correctAt: config.reward.correctAt,
    maxLag: config.async.maxLag,
    maxTokens: config.rollout.maxTokens,
    judgePrice: config.reward.judge.price,
  });
  return updatePolicy(
    parts.trainer,
    kept,
    {
      ...config.update,
      ...policyLoss(config, parts.loss, progress.knobs),
      ...{ step, phase, policy, optimiser: rlOptimiser(config, step), guard },
      comparable: logprobsComparable(config, parts.sampler),
      maxLag: config.async.maxLag,
      correction: correctionOf(config),
      referenceShare: referenceShare(context),
      trial: config.guard.trial,
      onRefused: (refused) => saveBatch(context, { step, phase, policyVersion: policy.n }, refused, signal),
      now: () => time.now(),
      known: { ...facts, groups, phases },
    },
    signal,
  );
}

/** Share of a mini-batch's groups that the reference policy is asked about. */
function referenceShare({ config, configured }: RunContext): number {
  // Whether there is a reference at all was settled when the run began.
  if (!needsReference(configured)) return 0;
  return config.loss.klCoefficient > 0 ? 1 : config.loss.monitorShare;
}

const phaseOf = ({ curriculumMachine }: RunContext): number => curriculumMachine.getSnapshot().context.phase;

/** What a step leaves behind for metrics, traces, alerts and the curriculum. */
export interface StepResult {
  readonly step: number;
  readonly phase: number;
  readonly groups: readonly Group[];
  readonly kept: readonly SampleGroup[];
  readonly update: UpdateResult;
  readonly values: MetricValues;
  readonly lag: LagStatus;
  readonly exhausted: boolean;
  /** Optimiser steps that changed weights. */
  readonly applied: number;
  /** Why none did; null where one did. */
  readonly idleCause: IdleCause | null;
  /** RL steps in a row, this one included, that changed no weight. */
  readonly idleSteps: number;
  readonly seconds: number;
}

/**
 * Runs RL step `progress.step + 1` in the curriculum's present phase; `snapshotSeconds` is what a snapshot before it took. Errors: those of the pipeline, which has dropped everything in
 * flight by then.
 */
export async function runRlStep(
  context: RunContext,
  snapshotSeconds: number | null,
  signal: AbortSignal,
): Promise<StepResult> {
  const { config, policies, pipeline, time } = context;
  if (config.async.maxLag === 0) context.published.reset();
  const started = time.now();
  const heldBefore = pipeline.gate.heldMs;
  const step = context.progress.step + 1;
  const phase = phaseOf(context);
  // With overlap only the first step after a start waits for the sampler.
  if (config.async.maxLag === 0 || !policies.isAdopted) await policies.current(signal);
  const { batch, kept, update, lag, seconds: spent } = await pipeline.step(signal);
  const { learningRate } = rlOptimiser(config, step);
  const applied = changesOf(update.updates, learningRate);
  const stats = await context.engine.stats({ signal });
  const seconds = (time.now() - started) / 1000;
  const groups = batch.ended;
  const cost = costMetrics({
    seconds: { step: seconds, ...spent, kl: update.klSeconds, held: (pipeline.gate.heldMs - heldBefore) / 1000 },
    sampledTokens: sampledTokens(groups.filter((group) => group.phase === phase)),
    kept,
    engine: stats,
    controlRssBytes: context.residentBytes(),
  });
  const idleCause = applied > 0 ? null : causeOf(batch, kept, update, learningRate);
  const idleSteps = idleCause === null ? 0 : context.progress.idleSteps + 1;
  const values = {
    ...update.values,
    "optimiser/learning_rate": learningRate,
    ...cost,
    ...context.published.ofStep(groups),
    "update/applied": applied,
    "update/idle_steps": idleSteps,
    "guard/rollbacks": context.progress.rollbacks.count,
    ...(snapshotSeconds === null ? {} : { "time/snapshot_seconds": snapshotSeconds }),
  };
  const { exhausted } = batch;
  return { step, phase, groups, kept, update, values, lag, exhausted, applied, idleCause, idleSteps, seconds };
}

function sampledTokens(groups: readonly Group[]): number {
  return groups.reduce(
    (sum, { members }) => members.reduce((inner, { rollout }) => inner + rollout.tokenIds.length, sum),
    0,
  );
}

/** Why a step changed no weight. */
function causeOf(
  { dropped }: Pick<FormedBatch, "dropped">,
  kept: readonly SampleGroup[],
  { refused, rejected }: UpdateResult,
  learningRate: number,
): IdleCause {
  const reasons = dropped.map(({ reason }) => reason);
  const nonFinite = refused.filter(({ cause }) => cause === "non_finite").length;
  const skipped = refused.length - nonFinite;
  const all = kept.every(({ samples }) => samples.every(({ rollout }) => rejected.has(rollout.id)));
  return idleCauseOf({ dropped: reasons, kept, refused: nonFinite, skipped, rejected: all, learningRate });
}

/**
 * Optimiser steps that changed weights by what was learnt. A gradient of exactly 0 (every advantage 0) or a rate of 0 is committed
 * by AdamW too, but moves weights by their decay at most.
 */
export function changesOf(
  updates: readonly { readonly applied: boolean; readonly gradNorm: number }[],
  learningRate: number,
): number {
  return learningRate > 0 ? updates.filter(({ applied, gradNorm }) => applied && gradNorm !== 0).length : 0;
}
