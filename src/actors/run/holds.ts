import type { Alert } from "../../contracts/alert.js";
import type { ReadinessState } from "../../contracts/readiness.js";
import { runAlert } from "./run-alert.js";
import type { RunContext } from "./run-context.js";

/** Tells of a reward that takes no work: when nothing is issued and scored any more, why, and when it goes on. */

/** Journals each hold and its end, and raises an alert that ends with it. `context` is read when something happens. */
export function tellHolds(
  context: () => Pick<RunContext, "taps" | "time" | "log" | "progress" | "policies" | "curriculumMachine" | "parts">,
): (state: ReadinessState) => void {
  let held: { readonly alert: Alert; readonly since: number } | null = null;
  return (state) => {
    const run = context();
    const { taps, log, time } = run;
    const { step } = run.progress;
    const part = run.parts.reward.kind;
    if (!state.ready) {
      const { code, reason } = state;
      taps.fact("admission.held", step, { part, code, reason });
      const alert = holdAlert(run, state);
      held = { alert, since: time.now() };
      taps.alert(alert);
    } else if (held !== null) {
      const { alert, since } = held;
      held = null;
      const heldSeconds = (time.now() - since) / 1000;
      taps.fact("admission.resumed", step, { part, heldSeconds });
      const { id, rule, metric } = alert;
      taps.fact("alert.ended", step, { id, rule, metric, fromStep: alert.step, toStep: step, worst: null });
      log.info({ actor: "reward", step, heldSeconds }, `the reward "${part}" is ready again; the run goes on`);
    }
    taps.changed();
  };
}

function holdAlert(
  run: Pick<RunContext, "time" | "progress" | "policies" | "curriculumMachine" | "parts">,
  { code, reason }: Extract<ReadinessState, { ready: false }>,
): Alert {
  const { step } = run.progress;
  return runAlert(run, {
    id: `${step}-reward_away-${run.time.now()}`,
    level: "error",
    rule: "reward_away",
    metric: "time/held_seconds",
    value: 0,
    threshold: 0,
    text: `nothing is sampled or scored, and the run goes on by itself: the reward "${run.parts.reward.kind}" takes no work (${code}): ${reason}`,
  });
}
