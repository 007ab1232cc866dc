/**
 * Connections of a run's parts to their servers: made before anything else, and again after a loss. A part that still has what it needs
 * keeps it; what a server has lost meanwhile is told by the call that needs it (WEIR_E_REMOTE_STATE).
 */

import { pause } from "../../system/pause.js";
import type { RunParts } from "../parts/part-kinds.js";
import { isUnreachable } from "./lifecycle.js";
import type { RunContext } from "./run-context.js";

/** Waits between tries to reach a server, ms; each is twice the one before. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** The trainer first: a sampler on the same server may work on what it has made there. */
const ORDER: readonly (keyof RunParts)[] = ["trainer", "sampler", "policyStore"];

interface Connecting {
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
}

/** Has every part that works on a server connect to it. Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE and other refusals of a server. */
export async function connectParts(parts: RunParts, signal: AbortSignal): Promise<void> {
  const others = (Object.keys(parts) as (keyof RunParts)[]).filter((kind) => !ORDER.includes(kind));
  for (const kind of [...ORDER, ...others]) await (parts[kind] as Connecting).connect?.({ signal });
}

/** Resolves once every server answers. Errors: those of `connectParts` but for WEIR_E_UNREACHABLE; the reason of the signal. */
export async function whenConnected(context: RunContext, signal: AbortSignal): Promise<void> {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      // Read anew: the part whose server is gone may be replaced meanwhile.
      await connectParts(context.parts, signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isUnreachable(error)) throw error;
      context.log.debug({ actor: "lifecycle", err: error }, "a server cannot be reached yet");
    }
    await pause(context.time, wait, signal);
  }
}
