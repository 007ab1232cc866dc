import type { Alert } from "../../contracts/alert.js";
import type { RunContext } from "./run-context.js";

/** The alert of a run that was paused for lack of room for its policies. */
export function pauseAlert({ progress, policies, curriculumMachine, time: clock }: RunContext, error: unknown): Alert {
  const time = clock.now();
  return {
    id: `${progress.step}-policy_budget-${time}`,
    level: "error",
    rule: "policy_budget",
    metric: "update/applied",
    value: 0,
    threshold: 0,
    z: null,
    step: progress.step,
    phase: curriculumMachine.getSnapshot().context.phase,
    policyVersion: policies.version.n,
    text: `the run is paused: ${error instanceof Error ? error.message : String(error)}`,
    culprits: [],
    time,
  };
}
