import type { Initiator } from "../../contracts/knob.js";
import { builtInLoss } from "../../losses/built-in.js";
import { lossSettings } from "../../losses/settings.js";
import { knobsOfRun, turnKnob } from "./knobs.js";
import type { RunContext } from "./run-context.js";

/** How a run goes on after a rollback that the guard asked for (`guard.afterRollback`). */

interface Turn {
  readonly path: string;
  /** Of the present value; null where there is none to go by. */
  readonly next: (present: number) => number;
}

/** Turns the knobs of a run that has just gone back; `inARow`: rollbacks without coming further, this one included. */
export function turnAfterRollback(context: RunContext, inARow: number, by: Initiator): void {
  const { learningRate, clip, maxLag } = context.config.guard.afterRollback;
  // A snapshot has the knobs as they were before earlier rollbacks to it.
  const scaled = (factor: number) => (present: number) => present * factor ** inARow;
  const turns: readonly Turn[] = [
    ...(learningRate < 1 ? [{ path: "optimiser.learningRate", next: scaled(learningRate) }] : []),
    ...(clip < 1 ? ["loss.clipLow", "loss.clipHigh"].map((path) => ({ path, next: scaled(clip) })) : []),
    ...(maxLag === null ? [] : [{ path: "async.maxLag", next: (present: number) => Math.min(present, maxLag) }]),
  ];
  const knobs = knobsOfRun(context);
  for (const { path, next } of turns) {
    const state = knobs.find((knob) => knob.path === path);
    const present = state?.value ?? ownValue(context, path);
    if (state === undefined || present === null) continue;
    const value = Math.min(state.max, Math.max(state.min, next(present)));
    try {
      turnKnob(context, path, value, by, `after a rollback (${inARow} in a row)`);
    } catch (error) {
      // The run has gone back all the same.
      context.log.warn({ actor: "knobs", knob: path, err: error }, "a knob could not be turned after a rollback");
    }
  }
}

/** What an option without a value stands for. */
function ownValue({ parts }: RunContext, path: string): number | null {
  const name = builtInLoss(parts.loss)?.name;
  if (name === undefined) return null;
  const own = lossSettings(name);
  if (path === "loss.clipLow") return own.clipLow;
  return path === "loss.clipHigh" ? own.clipHigh : null;
}
