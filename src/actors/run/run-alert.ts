import type { Alert } from "../../contracts/alert.js";
import { isUnreachable } from "./lifecycle.js";
import type { RunContext } from "./run-context.js";

/** Alerts about the run as a whole: no rollout is to blame. */

type About = Pick<Alert, "id" | "level" | "rule" | "metric" | "value" | "threshold" | "text"> &
  Partial<Pick<Alert, "phase">>;

/** `phase` is the present one where it is left out. */
export function runAlert(
  {
    progress,
    policies,
    curriculumMachine,
    time,
  }: Pick<RunContext, "progress" | "policies" | "curriculumMachine" | "time">,
  about: About,
): Alert {
  return {
    phase: curriculumMachine.getSnapshot().context.phase,
    ...about,
    z: null,
    step: progress.step,
    policyVersion: policies.version.n,
    culprits: [],
    time: time.now(),
  };
}

/** The alert of a run that was paused for lack of room for its policies, or because a server cannot be reached. */
export function pauseAlert(context: RunContext, error: unknown): Alert {
  const time = context.time.now();
  const away = isUnreachable(error);
  const rule = away ? "unreachable" : "policy_budget";
  const what = error instanceof Error ? error.message : String(error);
  const about = runAlert(context, {
    id: `${context.progress.step}-${rule}-${time}`,
    level: "error",
    rule,
    metric: "update/applied",
    value: 0,
    threshold: 0,
    text: `the run is paused${away ? ", and goes on by itself once the server answers" : ""}: ${what}`,
  });
  return { ...about, time };
}
