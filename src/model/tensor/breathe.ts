/** Lets the event loop run between pieces of arithmetic, so that aborts and heartbeats are handled. */
import { setImmediate } from "node:timers/promises";
import { WeirError } from "../../errors.js";

/** Throws WEIR_E_ENGINE_ABORTED where the caller has cancelled. */
export async function breathe(signal: AbortSignal): Promise<void> {
  await setImmediate();
  if (signal.aborted) {
    throw new WeirError("WEIR_E_ENGINE_ABORTED", "the request was cancelled by its caller; nothing was changed");
  }
}
