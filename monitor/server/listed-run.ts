import { LIMITS } from "../protocol/limits.js";
import type { RunInfo } from "../protocol/records.js";

/** The run as it is sent: its long lists end with the newest entries, and say how many there were. */
export function listedRun(run: RunInfo): RunInfo {
  return {
    ...run,
    checkpoints: run.checkpoints.slice(-LIMITS.listed),
    checkpointCount: run.checkpoints.length,
    evaluations: run.evaluations.slice(-LIMITS.listed),
    evaluationCount: run.evaluations.length,
    resumes: run.resumes.slice(-LIMITS.listed),
    resumeCount: run.resumes.length,
    rollbacks: (run.rollbacks ?? []).slice(-LIMITS.listed),
    rollbackCount: run.rollbacks?.length ?? 0,
    phases: run.phases.slice(-LIMITS.listed),
  };
}
