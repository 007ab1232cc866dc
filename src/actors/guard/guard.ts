import type { Evidence, Guard, Verdict } from "../../contracts/guard.js";
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
  | { readonly committed: true; readonly reply: OptimStepReply }
  | { readonly committed: false; readonly judged: JudgedUpdate; readonly gradNorm: number };

/** What the caller knows of a gradient besides its numbers. */
export type EvidenceBase = Pick<Evidence, "stage" | "step" | "phase" | "miniBatch" | "values" | "groups"> & {
  readonly policy: PolicyVersion;
};

export interface GuardedGradient<M> {
  readonly base: EvidenceBase;
  readonly optimiser: OptimiserConfig;
  /** Computes the gradient. */
  readonly gradient: () => Promise<M>;
  /** The numbers of the policy loss; null in the warm-up. */
  readonly policyOf: (metrics: M) => Evidence["policy"];
}

export interface GuardedOutcome<M> {
  /** Null where the loss was not finite, so that there is no gradient. */
  readonly metrics: M | null;
  readonly step: GuardedStep;
}

/**
 * Computes a gradient, has it judged, and applies it or throws it away. What is not finite is never applied.
 * Errors: WEIR_E_ROLLBACK for that verdict; those of trainer and guard, but for WEIR_E_NON_FINITE of the gradient.
 */
export async function guardedStep<M extends PolicyMetrics | SftMetrics>(
  trainer: Trainer,
  guard: Guard,
  { base, optimiser, gradient, policyOf }: GuardedGradient<M>,
  signal: AbortSignal,
): Promise<GuardedOutcome<M>> {
  const { metrics, unmeasured } = await finiteOrNot(gradient);
  const norm =
    metrics === null || !trainer.capabilities.discardsGradients ? null : await trainer.gradientNorm({ signal });
  const nonFinite = [...unmeasured, ...(norm === null || Number.isFinite(norm) ? [] : ["gradNorm"])];
  const { policy, ...known } = base;
  const evidence: Evidence = {
    ...known,
    policyVersion: policy.n,
    learningRate: optimiser.learningRate,
    nonFinite,
    loss: metrics?.loss ?? null,
    gradNorm: norm !== null && Number.isFinite(norm) ? norm : null,
    tokens: metrics?.tokens ?? 0,
    policy: metrics === null ? null : policyOf(metrics),
    trial: null,
  };
  const verdict = await verdictOn(guard, evidence, signal);
  if (verdict.action === "commit") {
    const reply = await trainer.optimStep(optimiser, { signal });
    return { metrics, step: { committed: true, reply } };
  }
  if (metrics !== null) await trainer.discardGradients({ signal });
  const judged = { evidence, verdict };
  if (verdict.action === "rollback") throw rollbackError([judged]);
  return { metrics, step: { committed: false, judged, gradNorm: norm ?? Number.NaN } };
}

/** A verdict of commit on what is not finite becomes skip. */
async function verdictOn(guard: Guard, evidence: Evidence, signal: AbortSignal): Promise<Verdict> {
  const verdict = await guard.judge(evidence, { signal });
  if (verdict.action !== "commit" || evidence.nonFinite.length === 0) return verdict;
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

/** WEIR_E_ROLLBACK with all verdicts of the step but commits; the last one asked for it. */
export function rollbackError(judged: readonly JudgedUpdate[]): WeirError {
  const { evidence, verdict } = judged.at(-1) as JudgedUpdate;
  const { stage, step, miniBatch } = evidence;
  const where = stage === "warmup" ? `warm-up step ${step}` : `RL step ${step}, optimiser step ${miniBatch + 1}`;
  return new WeirError("WEIR_E_ROLLBACK", `the guard rejected ${where}: ${verdict.reason}`, { judged });
}

/** The verdicts that an error of `rollbackError` carries, also as the cause of another; none for other errors. */
export function judgedOf(error: unknown): readonly JudgedUpdate[] {
  if (!WeirError.isInstance(error)) return [];
  if (error.code !== "WEIR_E_ROLLBACK") return judgedOf(error.cause);
  return error.details.judged as readonly JudgedUpdate[];
}
