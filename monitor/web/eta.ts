import type { RunInfo } from "../client/index.js";

/** How long a run has still to go. Pure. */

/** Newest steps whose median duration is the pace: enough to outweigh a checkpoint or an evaluation among them. */
const WINDOW = 20;

/**
 * Milliseconds until the last planned step at the present pace, the median time between the newest records; null where nothing
 * is left, the run does not go on, or fewer than two steps are known. `steps` and `times` (ms) are columns of the records.
 */
export function remainingMs(
  run: Pick<RunInfo, "status" | "live" | "step" | "plannedSteps">,
  steps: readonly number[],
  times: readonly number[],
): number | null {
  if (!run.live || run.status !== "running" || run.plannedSteps === null) return null;
  const left = run.plannedSteps - run.step;
  const durations: number[] = [];
  for (let i = Math.max(1, steps.length - WINDOW); i < steps.length; i++) {
    const count = (steps[i] ?? 0) - (steps[i - 1] ?? 0);
    const ms = (times[i] ?? 0) - (times[i - 1] ?? 0);
    if (count > 0 && ms > 0) durations.push(ms / count);
  }
  if (left <= 0 || durations.length === 0) return null;
  durations.sort((a, b) => a - b);
  const middle = durations.length >> 1;
  const upper = durations[middle] ?? 0;
  return left * (durations.length % 2 === 1 ? upper : (upper + (durations[middle - 1] ?? 0)) / 2);
}

/** "40 s", "12 min", "3 h 20 min", "2 d 4 h": no more digits than an estimate has. */
export function roughDuration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1_000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
