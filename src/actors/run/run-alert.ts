import type { Alert } from "../../contracts/alert.js";
import type { RunContext } from "./run-context.js";

/** Alerts about the run as a whole: no rollout is to blame. */

type About = Pick<Alert, "id" | "level" | "rule" | "metric" | "value" | "threshold" | "text"> &
  Partial<Pick<Alert, "phase">>;

/** `phase` is the present one where it is left out. */
export function runAlert({ progress, policies, curriculumMachine, time }: RunContext, about: About): Alert {
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

/** The alert of a run that was paused for lack of room for its policies. */
export function pauseAlert(context: RunContext, error: unknown): Alert {
  const time = context.time.now();
  const about = runAlert(context, {
    id: `${context.progress.step}-policy_budget-${time}`,
    level: "error",
    rule: "policy_budget",
    metric: "update/applied",
    value: 0,
    threshold: 0,
    text: `the run is paused: ${error instanceof Error ? error.message : String(error)}`,
  });
  return { ...about, time };
}
