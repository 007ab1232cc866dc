/**
 * Decides when a phase ends: after its steps (paper), or on evidence of mastery. Pure.
 * Every decision carries the numbers behind it.
 */

import { meanInterval } from "../../algorithms/intervals.js";
import type { AdvanceRule, CurriculumDecision, CurriculumStepEvidence } from "../../contracts/curriculum.js";

export interface AdvanceOptions {
  readonly by: AdvanceRule;
  /** Mastery: lower confidence bound of the mean reward that must be reached, in the reward's own scale. */
  readonly rewardThreshold: number;
  /** Mastery: largest KL of a step that counts, nats. */
  readonly klLimit: number;
  /** Mastery: consecutive steps that must satisfy both limits. */
  readonly calmSteps: number;
  /** Mastery: upper confidence bound below which the run falls back; 0 never. */
  readonly fallbackThreshold: number;
}

/** Progress within the running phase; JSON. */
export interface AdvanceState {
  /** Committed steps in this phase. */
  readonly steps: number;
  /** Consecutive steps with mastery and KL within the limit. */
  readonly calm: number;
  /** Consecutive steps whose upper confidence bound was below the fallback threshold. */
  readonly poor: number;
  /** Mean rewards of the groups observed, per step, latest last; at most `calmSteps` of them. */
  readonly window: readonly (readonly number[])[];
}

export const FRESH_PHASE: AdvanceState = { steps: 0, calm: 0, poor: 0, window: [] };

/** One-sided 95 % bounds are the ends of a two-sided 90 % interval. */
const CONFIDENCE = 0.9;

export interface AdvanceInput {
  readonly state: AdvanceState;
  readonly evidence: CurriculumStepEvidence;
  /** Mean unshaped rewards of the groups observed since the last decision. */
  readonly groupRewards: readonly number[];
  readonly stepLimit: number;
  readonly phases: number;
  /** False where falling back is not possible (first phase, or it was done before). */
  readonly mayFallBack: boolean;
}

/**
 * Takes a step into the state. A step without a scored rollout counts as a step of the phase but not as evidence: window and
 * counts stay. A step without an update changed nothing, so its KL counts as within the limit.
 */
function weigh(input: AdvanceInput, options: AdvanceOptions) {
  const { evidence, state: before } = input;
  const fromStep = evidence.meanReward === null ? [] : [evidence.meanReward];
  const rewards = input.groupRewards.length > 0 ? input.groupRewards : fromStep;
  const isEvidence = rewards.length > 0;
  const window = isEvidence ? [...before.window, rewards].slice(-options.calmSteps) : before.window;
  const pooled = window.flat();
  const bounds = pooled.length >= 2 ? meanInterval(pooled, CONFIDENCE) : null;
  const calm = evidence.kl === null || evidence.kl <= options.klLimit;
  const mastered = bounds !== null && bounds.low >= options.rewardThreshold && calm;
  const poor = bounds !== null && options.fallbackThreshold !== 0 && bounds.high < options.fallbackThreshold;
  const row = (length: number, grows: boolean) => (grows ? length + 1 : 0);
  const state: AdvanceState = {
    steps: before.steps + 1,
    calm: isEvidence ? row(before.calm, mastered) : before.calm,
    poor: isEvidence ? row(before.poor, poor) : before.poor,
    window,
  };
  return { state, pooled, bounds };
}

/** The decision after a step, and the state to go on with. */
export function decideAdvance(
  input: AdvanceInput,
  options: AdvanceOptions,
): { readonly decision: CurriculumDecision; readonly state: AdvanceState } {
  const { evidence, stepLimit, phases, mayFallBack } = input;
  const { state, pooled, bounds } = weigh(input, options);
  const numbers: Record<string, number> = { stepsInPhase: state.steps, stepLimit };
  for (const name of ["meanReward", "accuracy", "kl", "entropy"] as const) {
    const value = evidence[name];
    if (typeof value === "number") numbers[name] = value;
  }
  if (options.by === "mastery") {
    Object.assign(numbers, { calmSteps: state.calm, poorSteps: state.poor, groups: pooled.length });
    if (bounds) Object.assign(numbers, { rewardLow: bounds.low, rewardHigh: bounds.high });
  }
  const decide = (action: CurriculumDecision["action"], nextPhase: number | null, reason: string) => ({
    decision: { action, phase: evidence.phase, nextPhase, reason, evidence: numbers },
    state,
  });
  const onward = (reason: string) =>
    evidence.phase >= phases ? decide("finish", null, reason) : decide("advance", evidence.phase + 1, reason);

  if (options.by === "mastery" && state.calm >= options.calmSteps) {
    return onward(
      `the lower bound of the mean reward was at least ${options.rewardThreshold} with KL within its limit for ${state.calm} steps`,
    );
  }
  if (state.steps >= stepLimit) return onward(`the phase's ${stepLimit} steps are done`);
  if (options.by === "mastery" && mayFallBack && state.poor >= options.calmSteps) {
    const reason = `the upper bound of the mean reward stayed below ${options.fallbackThreshold} for ${state.poor} steps`;
    return decide("fallback", evidence.phase - 1, reason);
  }
  return decide("hold", null, `step ${state.steps} of at most ${stepLimit} in this phase`);
}
