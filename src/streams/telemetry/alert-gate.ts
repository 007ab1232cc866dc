/**
 * Decides when an alert is raised: once when its cause begins, again only after the cause has ended, or at growing
 * intervals while it lasts (`repeatSteps`, then twice that, …), so a policy that stays collapsed for 400 steps raises a
 * handful of alerts. Its only input is the sequence of steps, so a resumed run raises the same alerts (I11).
 */
import type { Alert } from "../../contracts/alert.js";

/** Rules about a jump: each is over with the step that shows it. */
const MOMENTARY: ReadonlySet<string> = new Set(["kl_spike", "entropy_spike"]);
/** Steps without the finding after which the cause of a lasting rule has ended: a value that oscillates around its limit is one cause. */
const QUIET_STEPS = 5;

interface Cause {
  readonly key: string;
  /** First step of the cause. */
  readonly begun: number;
  /** Last step that showed it. */
  readonly seen: number;
  /** Last step that raised it. */
  readonly raised: number;
  /** Steps after `raised` at which it is raised again. */
  readonly gap: number;
}

export type AlertGateState = readonly Cause[];

export interface AlertGate {
  /** The findings of a step that are to be raised. */
  admit(found: readonly Alert[], step: number): Alert[];
  snapshot(): AlertGateState;
  restore(state: AlertGateState): void;
}

export function createAlertGate(repeatSteps: number): AlertGate {
  let causes = new Map<string, Cause>();

  const admitOne = (alert: Alert, step: number): Alert[] => {
    const key = `${alert.rule}|${alert.metric}`;
    const cause = causes.get(key);
    if (cause === undefined) {
      causes.set(key, { key, begun: step, seen: step, raised: step, gap: repeatSteps });
      return [alert];
    }
    if (step - cause.raised < cause.gap) {
      causes.set(key, { ...cause, seen: step });
      return [];
    }
    causes.set(key, { ...cause, seen: step, raised: step, gap: 2 * cause.gap });
    return [{ ...alert, text: `${alert.text} (since step ${cause.begun})` }];
  };

  return {
    admit(found, step) {
      for (const { key, seen } of [...causes.values()]) {
        const quiet = MOMENTARY.has(key.split("|")[0] as string) ? 1 : QUIET_STEPS;
        if (step - seen > quiet) causes.delete(key);
      }
      return found.flatMap((alert) => admitOne(alert, step));
    },
    snapshot: () => [...causes.values()],
    restore(state) {
      causes = new Map(state.map((cause) => [cause.key, cause]));
    },
  };
}
