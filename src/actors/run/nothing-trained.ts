/** The end of a run that trained nothing (I14): its reason as a coded error. */
import { WeirError } from "../../errors.js";
import { IDLE_TEXT } from "../../streams/telemetry/stall-detector.js";
import type { Progress, Workload } from "./progress.js";

/**
 * The error of a run whose RL stage changed no weight or, where RL was left out on purpose, whose warm-up changed none; null for a run
 * that trained. Updates of a stage before a resume count: they are in the progress that a checkpoint holds.
 */
export function nothingTrained(progress: Progress, workload: Workload): WeirError | null {
  const rl = workload.trainingSteps > 0;
  const { updates, steps, stage } = rl
    ? { updates: progress.updates, steps: progress.step, stage: "RL" }
    : { updates: progress.warmupUpdates, steps: progress.warmupStep, stage: "warm-up" };
  if (updates > 0) return null;
  const cause = rl && progress.idleCause !== null ? IDLE_TEXT[progress.idleCause] : warmupCause(progress);
  return new WeirError(
    "WEIR_E_NOTHING_TRAINED",
    `the ${stage} stage took ${steps} steps and none of them changed the policy: ${cause}. report.json was written, no model was exported; the latest checkpoint holds the policy as it is`,
    { stage, steps, cause: progress.idleCause },
  );
}

/** Cause and remedy of a warm-up without any update. */
export const WARMUP_IDLE =
  "its gradients were 0 or not finite; check that the responses of warmup.data are not empty, and lower warmup.learningRate";

function warmupCause({ warmupStep }: Progress): string {
  if (warmupStep === 0) return "there was no row or task to train on; look at the files of warmup.data and data.train";
  return WARMUP_IDLE;
}
