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
import { withAdvantages } from "../../streams/batches.js";
import { collectGroups, type DropReason, unshapedRewards } from "../../streams/collector.js";
import {
  groupIdOf,
  type IssuedTask,
  type PipelineOptions,
  type PipelineParts,
  rolloutIdOf,
  runRound,
} from "../../streams/pipeline.js";
import type { MetricValues } from "../../streams/telemetry/metrics.js";
import { type IdleCause, idleCauseOf } from "../../streams/telemetry/stall-detector.js";
import { stepMetrics } from "../../streams/telemetry/step-metrics.js";
import { type UpdateResult, updatePolicy } from "../update/update.js";
import { needsReference, type RunContext } from "./run-context.js";

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

export function pipelineOptions(context: RunContext): PipelineOptions {
  const { config, tokenizer, supervisor } = context;
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
    sampling: rolloutSampling(config, withEndOfTurn(supervisor.engine().model.stopIds, tokenizer.endOfTurn)),
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
  const { config, curriculum, supervisor, store } = context;
  context.published.reset();
  const started = context.clock();
  const step = context.progress.step + 1;
  const phase = context.curriculumMachine.getSnapshot().context.phase;
  const version = supervisor.engine().version().n;
  const options = pipelineOptions(context);
  let sequence = context.progress.sequence;
  let sampleSeconds = 0;
  let rewardSeconds = 0;
  const groups: Group[] = [];
  const open = new Map<string, IssuedTask>();

  const entry = (rolloutId: string, issued: IssuedTask) => ({
    rolloutId,
    groupId: groupIdOf(issued),
    taskId: issued.task.id,
    phase: issued.phase,
    step,
    policyVersion: version,
  });
  const end = (rolloutId: string, state: "trained" | "dropped", reason?: string) => {
    const issued = open.get(rolloutId);
    if (!issued) return;
    open.delete(rolloutId);
    store.ledger({ ...entry(rolloutId, issued), state, ...(reason === undefined ? {} : { reason }) });
  };

  const parts: PipelineParts = {
    sampler: supervisor.engine(),
    reward: context.reward,
    gauges: context.gauges,
    listener: {
      generated: (rollout, issued) => store.ledger({ ...entry(rollout.id, issued), state: "generated" }),
      scored: (member, issued) => {
        if (member.outcome.kind === "scored") store.ledger({ ...entry(member.rollout.id, issued), state: "scored" });
      },
    },
  };

  const issue = (): IssuedTask => {
    const pick = curriculum.next(phase);
    const { task, promptIds } = context.tasks.get(pick.taskId) as {
      task: IssuedTask["task"];
      promptIds: readonly number[];
    };
    const issued = { task, promptIds, phase, step, visit: pick.visit, carried: pick.carried, sequence: sequence++ };
    for (let g = 0; g < config.rollout.groupSize; g++) {
      const id = rolloutIdOf(issued, g);
      open.set(id, issued);
      store.ledger({ ...entry(id, issued), state: "issued" });
    }
    return issued;
  };

  const round = async (missing: number) => {
    const count = Math.ceil(missing * config.dynamicSampling.oversample);
    const issued = Array.from({ length: count }, issue);
    const result = await runRound(issued, parts, options, signal);
    sampleSeconds += result.sampleSeconds;
    rewardSeconds += result.rewardSeconds;
    for (const group of result.groups)
      curriculum.observe({ taskId: group.task.id, phase: group.phase, rewards: unshapedRewards(group) });
    groups.push(...result.groups);
    return result.groups;
  };

  try {
    const collected = await collectGroups(round, {
      wanted: config.rollout.promptsPerStep,
      dropZeroVariance: config.dynamicSampling.enabled,
      minScored: config.dynamicSampling.minScored,
      maxRounds: config.dynamicSampling.maxRounds,
      onExhausted: config.dynamicSampling.onExhausted,
    });
    const kept = await withAdvantages(collected.kept, context.advantage, signal);
    const optimiser = rlOptimiser(config, step);
    const trainStarted = context.clock();
    const update = await updatePolicy(
      supervisor.engine(),
      kept,
      { ...config.update, ...policyLoss(config, context.loss), optimiser, withReference: needsReference(config) },
      signal,
    );
    const trainSeconds = (context.clock() - trainStarted) / 1000;
    settle(kept, collected.dropped, update, end);
    const stats = await supervisor.engine().stats({ signal });
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
      seconds: { step: seconds, sample: sampleSeconds, reward: rewardSeconds, train: trainSeconds },
      engine: stats,
      controlRssBytes: process.memoryUsage.rss(),
    });
    const applied = changesOf(update.updates, optimiser.learningRate);
    const dropped = collected.dropped.map(({ reason }) => reason);
    const { learningRate } = optimiser;
    const idleCause = applied > 0 ? null : idleCauseOf({ dropped, kept, refused: update.refused.length, learningRate });
    const idleSteps = idleCause === null ? 0 : context.progress.idleSteps + 1;
    const values = {
      ...measured,
      ...context.published.ofStep(groups),
      "update/applied": applied,
      "update/idle_steps": idleSteps,
    };
    const { exhausted } = collected;
    return { step, phase, groups, kept, update, values, exhausted, applied, idleCause, idleSteps, sequence, seconds };
  } catch (error) {
    for (const rolloutId of [...open.keys()]) end(rolloutId, "dropped", "aborted");
    throw error;
  }
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

/** Writes the end state of every rollout of the step. */
function settle(
  kept: readonly SampleGroup[],
  dropped: readonly { readonly group: Group; readonly reason: DropReason }[],
  update: UpdateResult,
  end: (rolloutId: string, state: "trained" | "dropped", reason?: string) => void,
): void {
  const refused = new Set(update.refused.flat().map((group) => group.group.id));
  for (const { group, reason } of dropped) {
    for (const { rollout, outcome } of group.members)
      end(rollout.id, "dropped", outcome.kind === "scored" ? reason : `reward_${outcome.kind}`);
  }
  for (const { group } of kept) {
    for (const { rollout, outcome } of group.members) {
      if (outcome.kind !== "scored") end(rollout.id, "dropped", `reward_${outcome.kind}`);
      else if (refused.has(group.id)) end(rollout.id, "dropped", "non_finite");
      else end(rollout.id, "trained");
    }
  }
}
