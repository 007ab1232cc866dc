import { overlongPenalty } from "../../algorithms/overlong.js";
import { learningRateMultiplier } from "../../algorithms/schedules.js";
import type { Config } from "../../config/schema.js";
import type { Group, SampleGroup } from "../../contracts/group.js";
import type { LossPart } from "../../contracts/loss.js";
import type { SamplingParams } from "../../contracts/sampler.js";
import type { EvaluateLoss, OptimiserConfig, PolicyLossConfig } from "../../contracts/trainer.js";
import { builtInLoss } from "../../losses/built-in.js";
import { lossSettings } from "../../losses/settings.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { filterGroup, withAdvantages } from "../../streams/batches.js";
import { collectGroups, unshapedRewards } from "../../streams/collector.js";
import { type IssuedTask, type PipelineOptions, type PipelineParts, runRound } from "../../streams/pipeline.js";
import type { MetricValues } from "../../streams/telemetry/metrics.js";
import { type IdleCause, idleCauseOf } from "../../streams/telemetry/stall-detector.js";
import { stepMetrics } from "../../streams/telemetry/step-metrics.js";
import { type UpdateResult, updatePolicy } from "../update/update.js";
import { logprobsComparable } from "./capabilities.js";
import { needsReference, type RunContext } from "./run-context.js";
import { samplerCalls, sampleTimeoutMs } from "./sampler-engines.js";
import { StepLedger } from "./step-ledger.js";

/**
 * One RL step: issue ▸ rollouts ▸ rewards ▸ groups ▸ dynamic sampling ▸ advantages ▸ update ▸ ledger.
 * Invariants: groups are issued, observed and trained in one order (I11); every issued rollout ends in the ledger as
 * trained or dropped with a reason, also when the step fails (I2).
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
): { readonly loss: PolicyLossConfig; readonly evaluate?: EvaluateLoss } {
  const { loss, rollout } = config;
  const builtIn = builtInLoss(part);
  return {
    loss: {
      name: builtIn?.name ?? null,
      settings: builtIn?.settings ?? lossSettings(null),
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

/** `policy`: the version to sample from. */
export function pipelineOptions(context: RunContext, policy: number): PipelineOptions {
  const { config, tokenizer, parts } = context;
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
    promptsPerCall: rollout.promptsPerCall,
    queueGroups: rollout.queueGroups,
    rewardConcurrency: reward.concurrency,
    rewardTimeoutMs: reward.timeoutMs,
    policy,
    samplerCalls: samplerCalls(config),
    sampleTimeoutMs: sampleTimeoutMs(config),
    sampling: rolloutSampling(config, withEndOfTurn(parts.trainer.model.stopIds, tokenizer.endOfTurn)),
    shape: (value, length) => value + overlongPenalty(length, overlong),
    decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: false }),
  };
}

/** What a step leaves behind for metrics, traces, alerts and the curriculum. */
export interface StepResult {
  readonly step: number;
  readonly phase: number;
  readonly groups: readonly Group[];
  readonly kept: readonly SampleGroup[];
  readonly update: UpdateResult;
  readonly values: MetricValues;
  readonly exhausted: boolean;
  /** Optimiser steps that changed weights. */
  readonly applied: number;
  /** Why none did; null where one did. */
  readonly idleCause: IdleCause | null;
  /** RL steps in a row, this one included, that changed no weight. */
  readonly idleSteps: number;
  /** Order-of-issue counter after the step. */
  readonly sequence: number;
  readonly seconds: number;
}

/** Runs RL step `progress.step + 1` in the curriculum's present phase. On failure the rollouts at hand are dropped as `aborted`. */
export async function runRlStep(context: RunContext, signal: AbortSignal): Promise<StepResult> {
  const { config, parts, policies } = context;
  context.published.reset();
  const started = context.clock();
  const step = context.progress.step + 1;
  const phase = context.curriculumMachine.getSnapshot().context.phase;
  const policy = await policies.current(signal);
  const ledger = new StepLedger(context.store, step, policy.n);
  try {
    const rollouts = await collectRollouts(context, { step, phase, policy: policy.n, ledger }, signal);
    const { collected, groups } = rollouts;
    const kept = await withAdvantages(collected.kept, parts.advantage, signal);
    const optimiser = rlOptimiser(config, step);
    const trainStarted = context.clock();
    const update = await updatePolicy(
      parts.trainer,
      kept,
      {
        ...config.update,
        ...policyLoss(config, parts.loss),
        ...{ step, phase, policy, optimiser, guard: parts.guard },
        comparable: logprobsComparable(config, parts.sampler),
        withReference: needsReference(config),
      },
      signal,
    );
    const trainSeconds = (context.clock() - trainStarted) / 1000;
    const applied = changesOf(update.updates, optimiser.learningRate);
    if (update.updates.some((one) => one.applied)) policies.markChanged();
    ledger.settle(kept, collected.dropped, update);
    const stats = await context.engine.stats({ signal });
    const seconds = (context.clock() - started) / 1000;
    const measured = stepMetrics({
      groups,
      kept,
      rounds: collected.rounds,
      phases: context.phases,
      correctAt: config.reward.correctAt,
      updates: update.updates,
      mismatch: update.mismatch,
      withReference: needsReference(config),
      learningRate: optimiser.learningRate,
      seconds: { step: seconds, sample: rollouts.sampleSeconds, reward: rollouts.rewardSeconds, train: trainSeconds },
      engine: stats,
      controlRssBytes: process.memoryUsage.rss(),
    });
    const idleCause = applied > 0 ? null : causeOf(collected, kept, update, optimiser.learningRate);
    const idleSteps = idleCause === null ? 0 : context.progress.idleSteps + 1;
    const values = {
      ...measured,
      ...context.published.ofStep(groups),
      "update/applied": applied,
      "update/idle_steps": idleSteps,
      "guard/skipped": update.judged.length,
    };
    const { exhausted } = collected;
    const { sequence } = rollouts;
    return { step, phase, groups, kept, update, values, exhausted, applied, idleCause, idleSteps, sequence, seconds };
  } catch (error) {
    ledger.abort();
    throw error;
  }
}

interface CollectOptions {
  readonly step: number;
  readonly phase: number;
  /** Version to sample from. */
  readonly policy: number;
  readonly ledger: StepLedger;
}

interface CollectedRollouts {
  readonly collected: Awaited<ReturnType<typeof collectGroups>>;
  /** Every group that finished, kept or not. */
  readonly groups: readonly Group[];
  readonly sampleSeconds: number;
  readonly rewardSeconds: number;
  /** Order-of-issue counter afterwards. */
  readonly sequence: number;
}

/** Issues tasks and has them answered and scored until dynamic sampling has what it wants. */
async function collectRollouts(
  context: RunContext,
  { step, phase, policy, ledger }: CollectOptions,
  signal: AbortSignal,
): Promise<CollectedRollouts> {
  const { config, parts } = context;
  const options = pipelineOptions(context, policy);
  let { sequence } = context.progress;
  let sampleSeconds = 0;
  let rewardSeconds = 0;
  const groups: Group[] = [];
  const issue = (): IssuedTask => {
    const pick = parts.curriculum.next(phase);
    const { task, promptIds } = context.tasks.get(pick.taskId) as Pick<IssuedTask, "task" | "promptIds">;
    const issued = { task, promptIds, phase, step, visit: pick.visit, carried: pick.carried, sequence: sequence++ };
    ledger.issue(issued, config.rollout.groupSize);
    return issued;
  };
  const { sampler, reward } = parts;
  const stages: PipelineParts = { sampler, reward, gauges: context.gauges, listener: ledger };
  const round = async (missing: number) => {
    const count = Math.ceil(missing * config.dynamicSampling.oversample);
    const issued = Array.from({ length: count }, issue);
    const result = await runRound(issued, stages, options, signal);
    sampleSeconds += result.sampleSeconds;
    rewardSeconds += result.rewardSeconds;
    for (const group of result.groups)
      parts.curriculum.observe({ taskId: group.task.id, phase: group.phase, rewards: unshapedRewards(group) });
    groups.push(...result.groups);
    return result.groups;
  };
  const { minScored, maxRounds, onExhausted } = config.dynamicSampling;
  const wanted = config.rollout.promptsPerStep;
  const filter = async (finished: readonly Group[]) => parts.filter.filter(finished.map(filterGroup), { signal });
  const collected = await collectGroups(round, { wanted, filter, minScored, maxRounds, onExhausted });
  return { collected, groups, sampleSeconds, rewardSeconds, sequence };
}

/** Why a step changed no weight. */
function causeOf(
  collected: CollectedRollouts["collected"],
  kept: readonly SampleGroup[],
  { refused }: UpdateResult,
  learningRate: number,
): IdleCause {
  const dropped = collected.dropped.map(({ reason }) => reason);
  const nonFinite = refused.filter(({ cause }) => cause === "non_finite").length;
  return idleCauseOf({ dropped, kept, refused: nonFinite, skipped: refused.length - nonFinite, learningRate });
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
