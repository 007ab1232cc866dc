import type { Alert } from "../../src/contracts/alert.js";
import type { GuardEvent } from "../client/index.js";

/** Alarms with their begin and end, from the alerts and what the timeline says of each. Pure. */

export interface Alarm {
  readonly alert: Alert;
  readonly fromStep: number;
  /** Last step that showed it, so far. */
  readonly toStep: number;
  /** `undone` where a rollback went back before it; null where the run has no record of beginnings and ends. */
  readonly state: "active" | "ended" | "undone" | null;
  /** The value furthest from what is allowed; null where it is not known. */
  readonly worst: number | null;
}

type Told = Extract<GuardEvent, { kind: "alarm" }>;

/** The alarms in the order in which they were raised. */
export function alarmsOf(alerts: readonly Alert[], events: readonly GuardEvent[]): readonly Alarm[] {
  const told = new Map<string, { from: number; last: Told; worst: number | null; undone: boolean }>();
  // Without any update or end, the journal is of a build that did not record them.
  const recorded = events.some((event) => event.kind === "alarm" && event.state !== "raised");
  for (const event of events) {
    if (event.kind === "rollback")
      for (const alarm of told.values())
        if (alarm.from > event.toStep && alarm.last.state !== "ended") alarm.undone = true;
    if (event.kind !== "alarm") continue;
    const known = told.get(event.id);
    const from = Math.min(known?.from ?? event.fromStep, event.fromStep);
    told.set(event.id, { from, last: event, worst: event.worst ?? known?.worst ?? null, undone: false });
  }
  // A resumed run tells its alarms again.
  const unique = new Map(alerts.map((alert) => [alert.id, alert]));
  return [...unique.values()].map((alert) => {
    const known = told.get(alert.id);
    if (!known) return { alert, fromStep: alert.step, toStep: alert.step, state: null, worst: null };
    const { from, last, worst, undone } = known;
    const state = last.state === "ended" ? "ended" : undone ? "undone" : recorded ? "active" : null;
    return { alert, fromStep: from, toStep: Math.max(from, last.toStep), state, worst };
  });
}

/** "step 9", "steps 9–12, active" */
export function alarmSpan({ fromStep, toStep, state }: Alarm): string {
  const steps = fromStep === toStep ? `step ${fromStep}` : `steps ${fromStep}–${toStep}`;
  return state === "active" || state === "undone" ? `${steps}, ${state}` : steps;
}

/** Rule, steps and text of an alarm, for marks. */
export function alarmText(alarm: Alarm): string {
  const { rule, text } = alarm.alert;
  return `${rule.replaceAll("_", " ")}, ${alarmSpan(alarm)}: ${text}`;
}

/** Part of the first culprit's contribution, in [0, 1], for bars; 0 where it is not a number. */
export function contributionShares(culprits: Alert["culprits"]): readonly number[] {
  const sizes = culprits.map(({ contribution }) => (Number.isFinite(contribution) ? Math.abs(contribution) : 0));
  const most = Math.max(0, ...sizes);
  return sizes.map((size) => (most === 0 ? 0 : size / most));
}
