/**
 * From what the detectors find in a candidate update to a verdict. Pure: the same evidence, history and patience give the same verdict.
 * Invariants: what is not finite is never committed; apart from that and from the KL of a trial step only a change against the steps
 * before leads to more than an alarm, so that a run whose numbers were always unusual is not held up.
 */
import type { Evidence, Objection, Verdict } from "../../contracts/guard.js";

import { findingsOf } from "../../streams/telemetry/detection.js";
import type { DetectionOptions } from "../../streams/telemetry/detection-options.js";
import { type Finding, show } from "../../streams/telemetry/finding.js";
import type { Histories } from "../../streams/telemetry/history.js";
import type { MetricDraft, MetricValues } from "../../streams/telemetry/metrics.js";
import type { GuardMachineState } from "./guard-machine.js";

export interface JudgementOptions {
  readonly detection: DetectionOptions;
  /** KL of a trial step above which the step is made smaller, nats. */
  readonly klLimit: number;
}

/** What the guard's statechart says. */
export interface Patience {
  readonly state: GuardMachineState["value"];
  /** Steps in a row before this one that were objected to. */
  readonly objections: number;
}

const RATE = "optimiser/learning_rate";
const RATE_RULE = "step_size";

/** What the guard does about a rule; a rule that is not here raises an alarm and no more. */
const ACTIONS: Readonly<Record<string, "skip" | "rollback">> = {
  gradient_spike: "skip",
  advantage_spike: "skip",
  advantage_limit: "skip",
  ratio_limit: "skip",
  all_truncated: "skip",
  cut_short: "skip",
  reward_hacking: "skip",
  stale_flood: "skip",
  mismatch: "skip",
  entropy_divergence: "rollback",
  entropy_collapse: "rollback",
  kl_limit: "rollback",
};
/** Rules about what was there before the step: a policy that an update has spoiled already, or an option that was turned since. */
const OF_BEFORE: ReadonlySet<string> = new Set(["entropy_divergence", "entropy_collapse", RATE_RULE]);
/** Rules that another snapshot would not mend: groups are too old because trainer and sampler differ in speed. */
const OF_SPEED: ReadonlySet<string> = new Set(["stale_flood"]);
/**
 * Rules about what the trainer is given: the policy is as good as before. One rollback publishes it anew, so that a sampler loads it
 * again; where that did not help, batches are skipped for longer before another one.
 */
const OF_GIVEN: ReadonlySet<string> = new Set(["mismatch", "reward_hacking", "cut_short"]);

/** Steps in a row that the guard objects to before it goes back: one batch may be odd, three are no accident. */
const PATIENCE = 3;
/** The same after a rollback, for what the trainer is given. */
const PATIENCE_WITH_GIVEN = 20;
/** Smallest share of a step that is applied: below it nothing is learnt, and the step says that something else is wrong. */
const LEAST_SCALE = 0.1;

/** The numbers of a candidate by registered name: those of its step, and those of its gradient. What a later gradient repeats is left out. */
export function candidateValues(evidence: Evidence): MetricValues {
  const { values, policy, trial, gradNorm, learningRate, miniBatch } = evidence;
  const own: MetricDraft = { [RATE]: learningRate };
  if (gradNorm !== null) own["gradient/norm"] = gradNorm;
  if (trial !== null) own["kl/update"] = trial.k3;
  if (policy !== null) {
    own["kl/old_k3"] = policy.klOldK3;
    own["ratio/max"] = policy.ratioMax;
  }
  const { "advantage/max_abs": advantage } = values;
  if (advantage !== undefined) own["advantage/max_abs"] = advantage;
  if (miniBatch > 0) return own;
  if (policy !== null && policy.klRef !== null) own["kl/ref"] = policy.klRef;
  return { ...values, ...own };
}

export function verdictOf(
  evidence: Evidence,
  histories: Histories,
  patience: Patience,
  options: JudgementOptions,
): Verdict {
  const { nonFinite, step } = evidence;
  const tired = patience.objections + 1 >= PATIENCE && evidence.stage === "rl" && patience.state !== "exhausted";
  if (nonFinite.length > 0) {
    const objection = { reason: `not finite: ${nonFinite.join(", ")}`, rule: "non_finite" };
    return tired ? escalated(objection, step, patience) : { action: "skip", ...objection };
  }
  if (evidence.stage === "warmup") return { action: "commit" };
  const found = findingsOf({ phase: evidence.phase, values: candidateValues(evidence) }, histories, options.detection);
  const acted = patience.state === "exhausted" ? undefined : mostUrgent(found, evidence, options);
  if (acted !== undefined) {
    const { finding, action } = acted;
    const objection = objectionOf(finding);
    if (action === "rollback") return { action, ...objection, ...lastGood(finding, evidence) };
    if (!tired || isWaitedOut(finding, patience)) return { action, ...objection };
    if (!OF_SPEED.has(finding.rule)) return escalated(objection, step, patience);
  }
  return trialVerdict(evidence, options.klLimit, patience, tired) ?? { action: "commit" };
}

/** True while another rollback would not help. */
function isWaitedOut({ rule }: Finding, { state, objections }: Patience): boolean {
  return OF_GIVEN.has(rule) && state === "cooling" && objections + 1 < PATIENCE_WITH_GIVEN;
}

/** False for a rule about sampler, judge or data: a smaller step would not have helped. */
export function isOfStep(rule: string): boolean {
  return !OF_GIVEN.has(rule) && !OF_SPEED.has(rule) && rule !== "all_truncated";
}

/** A skip comes first: where the batch is odd, nothing else can be said of the step. */
function mostUrgent(found: readonly Finding[], evidence: Evidence, options: JudgementOptions) {
  const acted = found.flatMap((finding) => {
    const action = actionOn(finding, evidence, options);
    return action === null ? [] : [{ finding, action }];
  });
  return acted.find(({ action }) => action === "skip") ?? acted[0];
}

function actionOn(
  { rule, metric, level, changed }: Finding,
  { trial, tokens }: Evidence,
  { klLimit }: JudgementOptions,
): "skip" | "rollback" | null {
  // The trial step has its own limit.
  if (metric === "kl/update" || (changed !== true && rule !== "kl_limit")) return null;
  // A higher rate may be wanted; what it does shows in the trial step.
  if (rule === RATE_RULE) return trial === null || trial.k3 > klLimit ? "rollback" : null;
  if (rule === "reward_hacking" && level !== "error") return null;
  const action = ACTIONS[rule] ?? null;
  return action === "skip" && tokens === 0 ? null : action;
}

function objectionOf({ text, rule, metric, value }: Finding): Objection {
  return { reason: text, rule, metric, value };
}

/** What was wrong before the step began with the update before it, or was turned after that one. */
function lastGood({ rule }: Finding, { step, values }: Evidence): { readonly lastGoodStep?: number } {
  if (!OF_BEFORE.has(rule)) return {};
  return { lastGoodStep: Math.max(0, step - 2 - (values["lag/max"] ?? 0)) };
}

/** Skipping has not helped: back to before the first of these steps. */
function escalated(objection: Objection, step: number, { objections }: Patience): Verdict {
  const reason = `${objection.reason}; ${objections + 1} steps in a row were rejected`;
  return { action: "rollback", ...objection, reason, lastGoodStep: Math.max(0, step - 1 - objections) };
}

/** The KL grows with the square of the step, so that √(limit/KL) of the step is at the limit. */
function trialVerdict({ trial, step }: Evidence, limit: number, patience: Patience, tired: boolean): Verdict | null {
  if (trial === null || trial.k3 <= limit) return null;
  const scale = Math.sqrt(limit / trial.k3);
  const objection = {
    reason: `the step moves the policy by ${show(trial.k3)} nats (limit ${limit})`,
    ...({ rule: "kl_limit", metric: "kl/update", value: trial.k3 } as const),
  };
  if (scale >= LEAST_SCALE)
    return tired ? escalated(objection, step, patience) : { action: "shrink", scale, ...objection };
  return patience.state === "exhausted" ? { action: "skip", ...objection } : { action: "rollback", ...objection };
}
