/**
 * States that a trainer keeps elsewhere, such as at a server: each is given up before the folder that names it is removed. Invariants:
 * removing a folder never fails or ends a run for it; a state whose server cannot be reached keeps its folder, which is tried again.
 */
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import type { MayRemove } from "../../store/index.js";
import { isUnreachable } from "./lifecycle.js";
import type { RunContext } from "./run-context.js";
import { MODEL_FOLDER } from "./snapshots.js";

/** Of giving up one state, ms: a run that ends waits for it. */
const FORGET_MS = 10_000;

/** Asks the trainer in use; null before it is connected: nothing is removed then. */
export function statesForgotten(context: () => Pick<RunContext, "parts" | "log"> | null): MayRemove {
  let noted = false;
  return async (directory) => {
    const present = context();
    if (present === null) return false;
    const { trainer } = present.parts;
    if (trainer.forgetState === undefined) return true;
    try {
      await trainer.forgetState(join(directory, MODEL_FOLDER), { signal: AbortSignal.timeout(FORGET_MS) });
      return true;
    } catch (error) {
      if (isUnreachable(error) || !WeirError.isInstance(error)) return false;
      const say = noted ? "debug" : "warn";
      noted = true;
      present.log[say]({ actor: "checkpoint", err: error }, "saved states stay where the trainer keeps them");
      return true;
    }
  };
}
