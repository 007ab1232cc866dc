import { klEstimate, type MovedRow, measureKl, movedTokens } from "../../algorithms/kl.js";
import { mean, meanOfUnits } from "../../algorithms/statistics.js";
import type { SampleGroup } from "../../contracts/group.js";
import type { Evidence, Guard, KlMeasure } from "../../contracts/guard.js";
import type { MetricValues } from "../../contracts/metrics.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type {
  EvaluateLoss,
  OptimiserConfig,
  PolicyBatch,
  PolicyLossConfig,
  PolicyMetrics,
  Trainer,
} from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { denominatorsOf, miniBatches, type PerToken, trainGroups } from "../../streams/batches.js";
import { gradientMetrics } from "../../streams/telemetry/policy-metrics.js";
import { type UpdateFacts, updateMetrics } from "../../streams/telemetry/step-metrics.js";
import { type GuardedOutcome, guardedStep, type JudgedUpdate } from "../guard/guard.js";
import { type GroupTokens, measuredGroups, tokensOf } from "./measured-groups.js";
import type { TokenBook } from "./token-book.js";

/** The optimiser steps of one RL step: mini-batches, epochs, and what the guard says of each. */

/** A group with what the loss needs of its tokens. */
export interface GroupInput {
  readonly group: SampleGroup;
  /** Null where π_old is the trainer's present policy. */
  readonly old: PerToken[number] | null;
  /** Log-probs of the reference policy; null where they were not asked for. */
  readonly reference: PerToken[number] | null;
  readonly weights: PerToken[number] | null;
}

/** A mini-batch that changed no weight. */
export interface RefusedBatch {
  readonly groups: readonly SampleGroup[];
  readonly cause: "non_finite" | "guard";
  /** Which optimiser step of the RL step, from 0. */
  readonly miniBatch: number;
  /** Why, as the guard says it. */
  readonly reason: string;
  /** What the trainer was given, and how it was to be applied. A loss of the user's own (`batch.loss.name` null) is not part of it. */
  readonly batch: PolicyBatch;
  readonly optimiser: OptimiserConfig;
  /** Null where they were not finite, or the trainer does not tell the norm before a step. */
  readonly loss: number | null;
  readonly gradNorm: number | null;
}

export interface StepOptions {
  readonly step: number;
  readonly phase: number;
  /** The version that the trainer holds: π_old. */
  readonly policy: PolicyVersion;
  readonly guard: Guard;
  readonly loss: PolicyLossConfig;
  /** The loss where `loss.name` is null. */
  readonly evaluate?: EvaluateLoss;
  readonly optimiser: OptimiserConfig;
  readonly miniBatchPrompts: number | null;
  readonly epochs: number;
  readonly microBatchTokens: number;
  /** Share of each mini-batch's groups on which the KL of its optimiser step is measured; 0 measures nothing. */
  readonly klShare: number;
  /** Take each step and measure it before the guard judges it, where the trainer can revise steps. */
  readonly trial: boolean;
  /** Hears of each mini-batch that changed no weight, while the trainer's weights are those of its gradient. */
  readonly onRefused?: (refused: RefusedBatch) => Promise<void>;
  /** ms. */
  readonly now: () => number;
}

export interface MiniBatchRun {
  readonly updates: readonly UpdateFacts[];
  readonly refused: readonly RefusedBatch[];
  readonly moved: ReadonlySet<string>;
  readonly judged: readonly JudgedUpdate[];
  /** Of the first mini-batch in the first epoch. */
  readonly first: PolicyMetrics | null;
  /** Time spent on measuring the KL of the update, ms; null where nothing was measured. */
  readonly klMs: number | null;
  /** The step that the guard wants rolled back; nothing was done after it. */
  readonly rolledBack: JudgedUpdate | null;
}

/** What follows an RL step's mini-batches. */
export interface Watch {
  readonly book: TokenBook;
  /** Metrics that are known once the gradient of a mini-batch is, besides those of the gradient; null where it is not finite. */
  readonly valuesOf: (metrics: PolicyMetrics | null, miniBatch: number) => MetricValues;
}

type Draft = { -readonly [K in keyof MiniBatchRun]: MiniBatchRun[K] } & {
  updates: UpdateFacts[];
  refused: RefusedBatch[];
  moved: Set<string>;
  judged: JudgedUpdate[];
};

/** KL to a policy whose log-probs are not finite. */
const BROKEN: KlMeasure = { k3: Number.NaN, k1: Number.NaN, standardError: null, max: Number.NaN, tokens: 0 };

/** Rejection left no token of a response. */
export const isRejected = (weights: readonly number[]) => weights.every((weight) => weight === 0);

export async function optimiseAll(
  trainer: Trainer,
  inputs: readonly GroupInput[],
  options: StepOptions,
  watch: Watch,
  signal: AbortSignal,
): Promise<MiniBatchRun> {
  const run: Draft = {
    updates: [],
    refused: [],
    moved: new Set(),
    judged: [],
    first: null,
    klMs: null,
    rolledBack: null,
  };
  // A group whose tokens are all rejected is in no mini-batch; a mini-batch of such groups alone is no optimiser step.
  const batches = miniBatches(inputs, options.miniBatchPrompts)
    .map((batch) => batch.filter(({ weights }) => weights === null || !weights.every(isRejected)))
    .filter((batch) => batch.length > 0);
  if (batches.length === 0) await judgeIdle(run, options, watch, signal);
  let miniBatch = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    for (const inputs of batches) {
      const work = new MiniBatch(trainer, inputs, miniBatch, options, watch, signal);
      await work.take(run);
      if (run.rolledBack !== null) return run;
      miniBatch++;
    }
  }
  return run;
}

/** A step without a gradient is shown to the guard all the same: that no group was worth training on may be what a rollback mends. */
async function judgeIdle(run: Draft, options: StepOptions, { valuesOf }: Watch, signal: AbortSignal): Promise<void> {
  const { step, phase, policy, guard, optimiser } = options;
  const evidence: Evidence = {
    ...{ stage: "rl", step, phase, miniBatch: 0, policyVersion: policy.n, learningRate: optimiser.learningRate },
    ...{ nonFinite: [], loss: null, gradNorm: null, tokens: 0, policy: null, trial: null, groups: [] },
    values: valuesOf(null, 0),
  };
  const verdict = await guard.judge(evidence, { signal });
  if (verdict.action !== "rollback") return;
  run.rolledBack = { evidence, verdict };
  run.judged.push(run.rolledBack);
}

/** One optimiser step. */
class MiniBatch {
  private readonly groups: readonly SampleGroup[];
  private readonly batch: PolicyBatch;
  private readonly tokens: readonly GroupTokens[];
  /** Groups on which the step is measured. */
  private readonly chosen: readonly number[];
  /** Log-probs of the reference policy per group. */
  private readonly references: readonly (PerToken[number] | null)[];
  private measuredRows: readonly (MovedRow & { readonly rolloutId: string })[] = [];
  private klMs: number | null = null;
  /** Of the gradient that was computed last. */
  private reference: { readonly of: PolicyMetrics; readonly kl: number | null } | null = null;

  constructor(
    private readonly trainer: Trainer,
    inputs: readonly GroupInput[],
    private readonly index: number,
    private readonly options: StepOptions,
    private readonly watch: Watch,
    private readonly signal: AbortSignal,
  ) {
    this.groups = inputs.map(({ group }) => group);
    const old = allOf(inputs.map((input) => input.old));
    const weights = allOf(inputs.map((input) => input.weights));
    this.references = inputs.map((input) => input.reference);
    // Without a KL term the trainer is given no reference: `kl/ref` is measured here, on some of the groups.
    const reference = options.loss.klCoefficient > 0 ? allOf(this.references) : null;
    this.batch = {
      groups: trainGroups(this.groups, old, reference, weights),
      loss: options.loss,
      denominators: denominatorsOf(this.groups, weights),
      microBatchTokens: options.microBatchTokens,
      oldPolicy: old === null ? options.policy : null,
    };
    this.tokens = this.groups.map(tokensOf);
    this.chosen = measuredGroups(this.tokens, options.klShare);
  }

  async take(run: Draft): Promise<void> {
    const { metrics, step } = await this.guarded();
    const [gradNorm, applied] = step.committed ? [step.reply.gradNorm, step.reply.applied] : [step.gradNorm, false];
    if (metrics !== null)
      run.updates.push({ metrics, gradNorm, applied, kl: applied ? step.kl : null, klRef: this.klRef(metrics) });
    if (step.judged !== null) run.judged.push(step.judged);
    const undone = !step.committed && step.judged.verdict.action === "rollback";
    if (undone) run.rolledBack = step.judged;
    // What was thrown away did nothing to the policy; of a step that ends the RL step it says why.
    if (applied || undone)
      for (const { rolloutId, ...row } of this.measuredRows)
        this.watch.book.moved({ rolloutId, perToken: movedTokens(row) });
    if (applied) for (const { group } of this.groups) run.moved.add(group.id);
    else {
      const refused = this.refused(metrics, step);
      run.refused.push(refused);
      await this.options.onRefused?.(refused);
    }
    if (this.index === 0) run.first = metrics;
    if (this.klMs !== null) run.klMs = (run.klMs ?? 0) + this.klMs;
  }

  private guarded(): Promise<GuardedOutcome<PolicyMetrics>> {
    const { trainer, batch, groups, options, signal, index, watch } = this;
    const { step, phase, policy, guard, optimiser, trial, evaluate } = options;
    const { rehearse } = trainer;
    const call = evaluate === undefined ? { signal } : { signal, evaluate };
    return guardedStep(
      trainer,
      guard,
      {
        base: { stage: "rl", step, phase, miniBatch: index, policy, groups: groups.map(groupEvidence) },
        optimiser,
        gradient: () => trainer.forwardBackward(batch, call),
        rehearsal: rehearse === undefined ? null : () => rehearse.call(trainer, batch, call),
        policyOf: (metrics) => {
          const { klOldK3, entropy, clipFraction, ratioMax } = metrics;
          return { klRef: this.klRef(metrics), klOldK3, entropy, clipFraction, ratioMax };
        },
        valuesOf: (metrics) => ({
          ...watch.valuesOf(metrics, index),
          ...(metrics === null ? {} : this.gradientValues(metrics)),
        }),
        measure: this.chosen.length === 0 ? null : (metrics) => this.measure(metrics),
        trial,
      },
      signal,
    );
  }

  /** Metrics of this gradient alone. */
  private gradientValues(metrics: PolicyMetrics): MetricValues {
    const { "gradient/applied": _, ...values } = updateMetrics(
      [{ metrics, gradNorm: Number.NaN, applied: false, kl: null, klRef: this.klRef(metrics) }],
      this.groups,
    );
    return { ...values, ...gradientMetrics([this.watch.book.trained(this.batch, this.groups, metrics)]) };
  }

  /** Token mean of KL(π ‖ π_ref) at the gradient, on the tokens whose reference is known and that count; null where there are none. */
  private klRef(metrics: PolicyMetrics): number | null {
    if (this.reference?.of !== metrics) this.reference = { of: metrics, kl: this.referenceKl(metrics) };
    return this.reference.kl;
  }

  private referenceKl({ logprobs }: PolicyMetrics): number | null {
    const { klEstimator, klClamp } = this.options.loss;
    const rows = this.references.flatMap((reference, p) =>
      (reference ?? []).map((row, g) => {
        const weights = this.batch.groups[p]?.completions[g]?.weights ?? null;
        const own = logprobs[p]?.[g] ?? [];
        return own.flatMap((value, t) =>
          weights?.[t] === 0 ? [] : [klEstimate(value, row[t] ?? Number.NaN, klEstimator, klClamp)],
        );
      }),
    );
    return meanOfUnits(rows)?.mean ?? null;
  }

  /** The policy as it is now against the one of the gradient, on the tokens that counted in it. */
  private async measure(metrics: PolicyMetrics) {
    const { trainer, options, signal, chosen, batch, tokens } = this;
    const started = options.now();
    const { temperature } = options.loss;
    const { microBatchTokens } = options;
    const groups = chosen.map((p) => tokens[p] as GroupTokens);
    const scores = trainer.logprobs(groups, { signal, temperature, which: "policy", microBatchTokens });
    const found = await scores.catch((error) => {
      if (!WeirError.isInstance(error) || error.code !== "WEIR_E_NON_FINITE") throw error;
      return null;
    });
    if (found === null) return BROKEN;
    const { logprobs } = found;
    this.measuredRows = chosen.flatMap((p, i) =>
      (this.groups[p] as SampleGroup).samples.map(({ rollout }, g) => {
        const weights = batch.groups[p]?.completions[g]?.weights ?? null;
        const before = (metrics.logprobs[p]?.[g] ?? []).map((value, t) => (weights?.[t] === 0 ? Number.NaN : value));
        return { rolloutId: rollout.id, before, after: logprobs[i]?.[g] ?? [] };
      }),
    );
    const kl = measureKl(this.measuredRows);
    this.klMs = (this.klMs ?? 0) + options.now() - started;
    return kl;
  }

  private refused(metrics: PolicyMetrics | null, step: GuardedOutcome<PolicyMetrics>["step"]): RefusedBatch {
    const evidence = step.judged?.evidence ?? null;
    const finite = !step.committed && step.judged.evidence.nonFinite.length === 0;
    return {
      groups: this.groups,
      cause: finite ? "guard" : "non_finite",
      miniBatch: this.index,
      reason: step.judged?.verdict.reason ?? "the trainer did not apply it: a gradient was not finite",
      batch: this.batch,
      optimiser: this.options.optimiser,
      loss: metrics?.loss ?? null,
      gradNorm: evidence?.gradNorm ?? null,
    };
  }
}

/** Null where one is null; all groups of a mini-batch have it, or none. */
function allOf(values: readonly (PerToken[number] | null)[]): PerToken | null {
  return values.includes(null) ? null : (values as PerToken);
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
