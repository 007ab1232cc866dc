import { isFiniteKl } from "../../algorithms/kl.js";
import type { Evidence, Guard, KlMeasure, Verdict } from "../../contracts/guard.js";
import type { MetricValues } from "../../contracts/metrics.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { OptimiserConfig, OptimStepReply, PolicyMetrics, SftMetrics, Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";

/** The place between gradient and optimiser step: the guard's verdict is asked for, and carried out. */

/** Commits whatever is finite (I7). */
export function createFiniteGuard(): Guard {
  return {
    kind: "finite",
    specificationVersion: 1,
    judge: ({ nonFinite }) =>
      nonFinite.length === 0 ? { action: "commit" } : { action: "skip", reason: `not finite: ${nonFinite.join(", ")}` },
  };
}

/** A verdict other than commit, with the numbers it rests on; journalled. */
export interface JudgedUpdate {
  readonly evidence: Evidence;
  readonly verdict: Exclude<Verdict, { readonly action: "commit" }>;
}

/** What became of a gradient. */
export type GuardedStep =
  | {
      readonly committed: true;
      readonly reply: OptimStepReply;
      /** What the step did to the policy; null where it was not measured. */
      readonly kl: KlMeasure | null;
      /** Where the guard made the step smaller. */
      readonly judged: JudgedUpdate | null;
    }
  | {
      readonly committed: false;
      /** skip or rollback. */
      readonly judged: JudgedUpdate;
      /** NaN where there is none, or the trainer does not tell it. */
      readonly gradNorm: number;
      /** What the step would have done; null without a trial. */
      readonly kl: KlMeasure | null;
    };

/** What the caller knows of a gradient besides its numbers. */
export type EvidenceBase = Pick<Evidence, "stage" | "step" | "phase" | "miniBatch" | "groups"> & {
  readonly policy: PolicyVersion;
};

export interface GuardedGradient<M> {
  readonly base: EvidenceBase;
  readonly optimiser: OptimiserConfig;
  /** Computes the gradient. */
  readonly gradient: () => Promise<M>;
  /**
   * The gradient's numbers from a forward pass, by which it is judged before it is computed; null where the trainer has none. Read
   * only where the trainer cannot throw a gradient away.
   */
  readonly rehearsal: (() => Promise<M>) | null;
  /** The numbers of the policy loss; null in the warm-up. */
  readonly policyOf: (metrics: M) => Evidence["policy"];
  /** Metrics known once the gradient is; null where it is not finite. */
  readonly valuesOf: (metrics: M | null) => MetricValues;
  /** Measures the trainer's policy as it is now against the one of the gradient; null: it is not measured. */
  readonly measure: ((metrics: M) => Promise<KlMeasure | null>) | null;
  /** Take the step and measure it before it is judged, where it is measured and the trainer can revise steps. */
  readonly trial: boolean;
}

export interface GuardedOutcome<M> {
  /** Null where the loss was not finite, so that there is no gradient. */
  readonly metrics: M | null;
  readonly step: GuardedStep;
}

/**
 * Computes a gradient, has it judged, and applies it, a part of it, or nothing. What is not finite is never applied. A rollback is
 * left to the caller, with weights and moments as they were. Where the trainer cannot throw a gradient away, what is judged is a
 * rehearsal of it, and one that is refused is never computed.
 * Errors: those of trainer and guard, but for WEIR_E_NON_FINITE of the gradient; WEIR_E_REMOTE_STATE for a gradient that is not finite
 * though its rehearsal was, and that cannot be thrown away.
 */
export async function guardedStep<M extends PolicyMetrics | SftMetrics>(
  trainer: Trainer,
  guard: Guard,
  given: GuardedGradient<M>,
  signal: AbortSignal,
): Promise<GuardedOutcome<M>> {
  const { discardsGradients } = trainer.capabilities;
  const rehearsal = discardsGradients ? null : given.rehearsal;
  const { metrics, unmeasured } = await finiteOrNot(rehearsal ?? given.gradient);
  const norm = metrics === null || !discardsGradients ? null : await trainer.gradientNorm({ signal });
  const nonFinite = [...unmeasured, ...(norm === null || Number.isFinite(norm) ? [] : ["gradNorm"])];
  const { policy, ...known } = given.base;
  const evidence: Evidence = {
    ...known,
    policyVersion: policy.n,
    learningRate: given.optimiser.learningRate,
    nonFinite,
    loss: metrics?.loss ?? null,
    gradNorm: norm !== null && Number.isFinite(norm) ? norm : null,
    tokens: metrics?.tokens ?? 0,
    policy: metrics === null ? null : given.policyOf(metrics),
    trial: null,
    values: given.valuesOf(metrics),
  };
  const gradNorm = norm ?? Number.NaN;
  const call: GuardedCall<M> = { trainer, guard, given, evidence, signal };
  if (metrics === null) {
    const verdict = await refusalOf(guard, evidence, signal);
    return { metrics, step: { committed: false, judged: { evidence, verdict }, gradNorm, kl: null } };
  }
  if (rehearsal !== null) return rehearsedStep(call, metrics);
  const { reviseStep } = trainer;
  const tries = given.trial && given.measure !== null && nonFinite.length === 0 && trainer.capabilities.revisesSteps;
  const step =
    tries && reviseStep !== undefined
      ? await triedStep(call, metrics, (share) => reviseStep.call(trainer, share, { signal }))
      : await judgedStep(call, metrics, gradNorm);
  return { metrics, step };
}

interface GuardedCall<M> {
  readonly trainer: Trainer;
  readonly guard: Guard;
  readonly given: GuardedGradient<M>;
  readonly evidence: Evidence;
  readonly signal: AbortSignal;
}

/** Judges the gradient, then applies what the verdict leaves of it. */
async function judgedStep<M>(call: GuardedCall<M>, metrics: M, gradNorm: number): Promise<GuardedStep> {
  const { trainer, guard, evidence, signal } = call;
  const verdict = await verdictOn(guard, evidence, signal);
  if (refuses(verdict)) {
    await trainer.discardGradients({ signal });
    return { committed: false, judged: { evidence, verdict }, gradNorm, kl: null };
  }
  return appliedStep(call, verdict, metrics);
}

/** Applies the gradient, or a part of it. */
async function appliedStep<M>(
  { trainer, given, evidence, signal }: GuardedCall<M>,
  verdict: Exclude<Verdict, Refusal>,
  metrics: M,
): Promise<GuardedStep> {
  const shrunk = verdict.action === "shrink";
  // AdamW's change of the weights is proportional to its rate; the moments are those of the whole step either way.
  const learningRate = given.optimiser.learningRate * (shrunk ? verdict.scale : 1);
  const reply = await trainer.optimStep({ ...given.optimiser, learningRate }, { signal });
  const kl = reply.applied ? await measured(given, metrics) : null;
  return { committed: true, reply, kl, judged: shrunk ? { evidence, verdict } : null };
}

/** Judges the rehearsal of a gradient; computes and applies it where the verdict leaves anything of it. */
async function rehearsedStep<M extends PolicyMetrics | SftMetrics>(
  call: GuardedCall<M>,
  rehearsed: M,
): Promise<GuardedOutcome<M>> {
  const { guard, given, evidence, signal } = call;
  const verdict = await verdictOn(guard, evidence, signal);
  if (refuses(verdict))
    return {
      metrics: rehearsed,
      step: { committed: false, judged: { evidence, verdict }, gradNorm: Number.NaN, kl: null },
    };
  const { metrics, unmeasured } = await finiteOrNot(given.gradient);
  if (metrics !== null) return { metrics, step: await appliedStep(call, verdict, metrics) };
  throw new WeirError(
    "WEIR_E_REMOTE_STATE",
    `the trainer "${call.trainer.kind}" gave a gradient whose ${unmeasured.join(", ")} is not finite, after a rehearsal that was, and cannot throw it away; the run goes back to its last checkpoint`,
    { metric: unmeasured },
  );
}

/** Takes the step, measures what it did to the policy, and leaves what the verdict says of it. */
async function triedStep<M>(
  call: GuardedCall<M>,
  metrics: M,
  revise: (share: number) => Promise<void>,
): Promise<GuardedStep> {
  const { trainer, guard, given, evidence, signal } = call;
  const reply = await trainer.optimStep(given.optimiser, { signal, revisable: true });
  const kl = reply.applied ? await measured(given, metrics) : null;
  const broken = [...(reply.applied ? [] : ["gradNorm"]), ...(kl === null || isFiniteKl(kl) ? [] : ["trial"])];
  const shown = { ...evidence, nonFinite: broken, trial: broken.length > 0 ? null : kl };
  const verdict = await verdictOn(guard, shown, signal);
  if (refuses(verdict)) {
    if (reply.applied) await revise(0);
    return { committed: false, judged: { evidence: shown, verdict }, gradNorm: reply.gradNorm, kl };
  }
  if (verdict.action === "commit") {
    await revise(1);
    return { committed: true, reply, kl, judged: null };
  }
  await revise(verdict.scale);
  return { committed: true, reply, kl: await measured(given, metrics), judged: { evidence: shown, verdict } };
}

async function measured<M>({ measure }: GuardedGradient<M>, metrics: M): Promise<KlMeasure | null> {
  return (await measure?.(metrics)) ?? null;
}

type Refusal = Extract<Verdict, { readonly action: "skip" | "rollback" }>;

const refuses = (verdict: Verdict): verdict is Refusal => verdict.action === "skip" || verdict.action === "rollback";

/** A verdict that would apply what is not finite becomes skip. */
async function verdictOn(guard: Guard, evidence: Evidence, signal: AbortSignal): Promise<Verdict> {
  return evidence.nonFinite.length > 0 ? refusalOf(guard, evidence, signal) : guard.judge(evidence, { signal });
}

/** The verdict on what is not finite. */
async function refusalOf(guard: Guard, evidence: Evidence, signal: AbortSignal): Promise<Refusal> {
  const verdict = await guard.judge(evidence, { signal });
  if (refuses(verdict)) return verdict;
  return {
    action: "skip",
    reason: `not finite: ${evidence.nonFinite.join(", ")}; the guard "${guard.kind}" would have committed it`,
  };
}

async function finiteOrNot<M>(
  gradient: () => Promise<M>,
): Promise<{ readonly metrics: M | null; readonly unmeasured: readonly string[] }> {
  try {
    return { metrics: await gradient(), unmeasured: [] };
  } catch (error) {
    if (!WeirError.isInstance(error) || error.code !== "WEIR_E_NON_FINITE") throw error;
    const { metric } = error.details;
    return { metrics: null, unmeasured: [typeof metric === "string" ? metric : "loss"] };
  }
}

/**
 * WEIR_E_ROLLBACK with all verdicts of the step but commits; the last one asked for it. `observation` is what is known of the step that
 * is thrown away; null in the warm-up.
 */
export function rollbackError<O>(judged: readonly JudgedUpdate[], observation: O | null = null): WeirError {
  const { evidence, verdict } = judged.at(-1) as JudgedUpdate;
  const { stage, step, miniBatch } = evidence;
  const where = stage === "warmup" ? `warm-up step ${step}` : `RL step ${step}, optimiser step ${miniBatch + 1}`;
  const details: Record<string, unknown> = { judged };
  // It holds whole batches, which no log should show.
  Object.defineProperty(details, "observation", { value: observation, enumerable: false });
  return new WeirError("WEIR_E_ROLLBACK", `the guard rejected ${where}: ${verdict.reason}`, details);
}

/** The verdicts that an error of `rollbackError` carries, also as the cause of another; none for other errors. */
export function judgedOf(error: unknown): readonly JudgedUpdate[] {
  if (!WeirError.isInstance(error)) return [];
  if (error.code !== "WEIR_E_ROLLBACK") return judgedOf(error.cause);
  return error.details.judged as readonly JudgedUpdate[];
}
