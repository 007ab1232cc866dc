import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { AlarmChanges } from "../../streams/telemetry/alarm-book.js";
import type { Observation } from "../../streams/telemetry/detector.js";
import type { JudgedUpdate } from "../guard/guard.js";
import { GUARD_MACHINE } from "../guard/guard-replay.js";
import type { StepResult } from "./rl-step.js";
import type { RunContext } from "./run-context.js";

/** Between an RL step and its alarms. */

/** Tells what has begun, lasts and ended. */
export function tellAlarms(
  { taps }: Pick<RunContext, "taps">,
  { raised, updated, ended }: AlarmChanges,
  step: number,
): void {
  for (const change of ended) taps.fact("alert.ended", step, change);
  for (const change of updated) taps.fact("alert.updated", step, change);
  for (const alert of raised) taps.alert(alert);
}

/** Rollouts that alarms name: their traces are always told (I15). */
export function culpritsOf({ raised }: Pick<AlarmChanges, "raised">): ReadonlySet<string> {
  return new Set(raised.flatMap(({ culprits }) => culprits.map(({ rolloutId }) => rolloutId)));
}

/** A finished step as the detectors see it. */
export function observationOf(
  { config, time }: RunContext,
  { step, phase, values, update, groups, idleSteps, idleCause }: StepResult,
  version: PolicyVersion,
): Observation {
  return {
    ...{ step, phase, values, groups, idleSteps, idleCause },
    policyVersion: version.n,
    time: time.now(),
    contributions: update.contributions,
    correctAt: config.reward.correctAt,
    ...verdictsOf(update.judged),
  };
}

/** What verdicts other than commit say to the detectors. */
export function verdictsOf(judged: readonly JudgedUpdate[]): Pick<Observation, "nonFinite" | "objections"> {
  return {
    nonFinite: [...new Set(judged.flatMap(({ evidence }) => evidence.nonFinite))],
    objections: judged.filter(({ evidence }) => evidence.nonFinite.length === 0).map(({ verdict }) => verdict),
  };
}

/** Journals the guard's statechart where it has moved. */
export function tellGuardState(context: RunContext, step: number): void {
  const { guard } = context.parts;
  const state = guard.state?.() ?? null;
  if (state === context.guardState) return;
  context.guardState = state;
  if (state !== null) context.taps.fact("lifecycle.changed", step, { machine: GUARD_MACHINE, value: state });
}
