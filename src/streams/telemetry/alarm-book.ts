/**
 * The alarms that are open: each is raised once, updated at growing intervals while its cause lasts, and ended. Its only input is the
 * sequence of steps, so a resumed run tells the same (I11).
 * Invariants: one open alarm per rule and metric; each that ends was raised; no two of a run have one id.
 */
import type { Alert } from "../../contracts/alert.js";
import type { FactData } from "../../contracts/fact.js";

/** Rules about a jump: each is over with the step that shows it. */
const MOMENTARY: ReadonlySet<string> = new Set([
  "kl_spike",
  "entropy_spike",
  "gradient_spike",
  "advantage_spike",
  "mismatch_spike",
  "step_size",
  "length_explosion",
]);
/** Steps without the finding after which a lasting cause has ended: a value that oscillates around its limit is one cause. */
const QUIET_STEPS = 5;

export interface OpenAlarm {
  readonly id: string;
  readonly rule: string;
  readonly metric: string;
  /** First and last step that showed it. */
  readonly fromStep: number;
  readonly toStep: number;
  /** The value furthest from what is allowed; null where none was finite. */
  readonly worst: number | null;
  /** How far that one is: |z|, or its distance from the limit. */
  readonly distance: number;
  /** Steps that showed it. */
  readonly steps: number;
  /** Judged steps since the last one that showed it. */
  readonly quiet: number;
  /** Steps after which it is updated next, and the interval. */
  readonly nextUpdate: number;
  readonly interval: number;
}

export interface AlarmBookState {
  readonly open: readonly OpenAlarm[];
  /** Ids that were given twice: an alarm of a step that is run again after a rollback. */
  readonly given: Readonly<Record<string, number>>;
}

export interface AlarmChanges {
  readonly raised: readonly Alert[];
  readonly updated: readonly FactData["alert.updated"][];
  readonly ended: readonly FactData["alert.ended"][];
}

export const EMPTY_BOOK: AlarmBookState = { open: [], given: {} };

/** Ids that are remembered; a rollback goes back fewer steps than these alarms took. */
const REMEMBERED = 200;

/**
 * Takes the findings of a step in. `updateSteps` is the number of steps of a lasting alarm after which it is updated first; the
 * interval doubles each time.
 */
export function bookStep(
  book: AlarmBookState,
  found: readonly Alert[],
  updateSteps: number,
): AlarmChanges & { readonly book: AlarmBookState } {
  const raised: Alert[] = [];
  const updated: FactData["alert.updated"][] = [];
  const ended: FactData["alert.ended"][] = [];
  const open: OpenAlarm[] = [];
  const shown = new Map(found.map((alert) => [keyOf(alert), alert]));
  for (const alarm of book.open) {
    const alert = shown.get(keyOf(alarm));
    if (alert !== undefined) {
      shown.delete(keyOf(alarm));
      const lasting = lasts(alarm, alert);
      if (lasting.steps > alarm.nextUpdate) updated.push(updateOf(lasting, alert));
      open.push(lasting.steps > alarm.nextUpdate ? later(lasting) : lasting);
    } else if (alarm.quiet + 1 > (MOMENTARY.has(alarm.rule) ? 0 : QUIET_STEPS)) ended.push(endOf(alarm));
    else open.push({ ...alarm, quiet: alarm.quiet + 1 });
  }
  const given = { ...book.given };
  for (const alert of shown.values()) {
    const times = (given[alert.id] ?? 0) + 1;
    given[alert.id] = times;
    const unique = times === 1 ? alert : { ...alert, id: `${alert.id}-${times}` };
    raised.push(unique);
    open.push(opened(unique, updateSteps));
  }
  const kept = Object.fromEntries(Object.entries(given).slice(-REMEMBERED));
  return { raised, updated, ended, book: { open, given: kept } };
}

const keyOf = ({ rule, metric }: { readonly rule: string; readonly metric: string }) => `${rule}|${metric}`;

function opened({ id, rule, metric, step, value, threshold, z }: Alert, updateSteps: number): OpenAlarm {
  return {
    ...{ id, rule, metric, fromStep: step, toStep: step },
    worst: Number.isFinite(value) ? value : null,
    distance: distanceOf({ value, threshold, z }),
    ...{ steps: 1, quiet: 0, nextUpdate: updateSteps, interval: updateSteps },
  };
}

function lasts(alarm: OpenAlarm, alert: Alert): OpenAlarm {
  const distance = distanceOf(alert);
  const further = Number.isFinite(alert.value) && (alarm.worst === null || distance > alarm.distance);
  return {
    ...alarm,
    ...(further ? { worst: alert.value, distance } : {}),
    toStep: alert.step,
    steps: alarm.steps + 1,
    quiet: 0,
  };
}

function later(alarm: OpenAlarm): OpenAlarm {
  const interval = 2 * alarm.interval;
  return { ...alarm, interval, nextUpdate: alarm.nextUpdate + interval };
}

function distanceOf({ value, threshold, z }: Pick<Alert, "value" | "threshold" | "z">): number {
  if (!Number.isFinite(value)) return 0;
  return z === null ? Math.abs(value - threshold) : Math.abs(z);
}

function updateOf({ id, rule, metric, worst, steps }: OpenAlarm, { value }: Alert): FactData["alert.updated"] {
  return { id, rule, metric, value: Number.isFinite(value) ? value : null, worst, steps };
}

function endOf({ id, rule, metric, fromStep, toStep, worst }: OpenAlarm): FactData["alert.ended"] {
  return { id, rule, metric, fromStep, toStep, worst };
}
