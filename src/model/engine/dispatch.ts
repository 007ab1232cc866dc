/** Routes a request to the engine's core; the one place that knows which message means which call. */

import type { EvaluateLoss } from "../../contracts/trainer.js";
import { ERROR_CODES, WeirError } from "../../errors.js";
import { asDiskError } from "../../system/disk-error.js";
import type { EngineCore } from "./core.js";
import type { EngineCalls, EngineMethod, ErrorMessage } from "./protocol.js";

type Handlers = {
  [M in EngineMethod]: (
    core: EngineCore,
    input: EngineCalls[M]["input"],
    signal: AbortSignal,
    evaluate: EvaluateLoss,
  ) => Promise<EngineCalls[M]["output"]> | EngineCalls[M]["output"];
};

const HANDLERS: Handlers = {
  sample: (core, input, signal) => core.sample(input, signal),
  forwardBackward: (core, { batch, asks }, signal, evaluate) =>
    core.forwardBackward(batch, signal, asks ? evaluate : null),
  sftForwardBackward: (core, input, signal) => core.sftForwardBackward(input, signal),
  adopt: async (core, input) => {
    await core.adopt(input);
    return null;
  },
  gradientNorm: (core) => core.gradientNorm(),
  discardGradients: (core) => {
    core.discardGradients();
    return null;
  },
  optimStep: (core, { config, reportTensors, revisable }) => core.optimStep(config, reportTensors, revisable),
  reviseStep: (core, { share }) => {
    core.reviseStep(share);
    return null;
  },
  logprobs: (core, input, signal) => core.logprobs(input, signal),
  scoreSequences: (core, input, signal) => core.scoreSequences(input, signal),
  freezeReference: (core) => {
    core.freezeReference();
    return null;
  },
  publish: (core, { as, folder }) => core.publish(as, folder),
  saveState: async (core, { directory }) => {
    await core.saveState(directory);
    return null;
  },
  loadState: (core, { directory, above }) => core.loadState(directory, above),
  resetOptimiser: (core) => {
    core.resetOptimiser();
    return null;
  },
  stats: (core) => core.stats(),
  planMemory: (core, size) => core.planMemory(size),
};

/** Runs one call on the core; `evaluate` reaches the caller's own loss. */
export async function dispatch<M extends EngineMethod>(
  core: EngineCore,
  method: M,
  input: EngineCalls[M]["input"],
  signal: AbortSignal,
  evaluate: EvaluateLoss,
): Promise<EngineCalls[M]["output"]> {
  return HANDLERS[method](core, input, signal, evaluate);
}

/** A full disk is told by its own code, also where the engine writes a checkpoint. */
export function errorToMessage(thrown: unknown): ErrorMessage {
  const error = asDiskError(thrown);
  if (WeirError.isInstance(error)) {
    const plain = error.message.startsWith(`${error.code}: `)
      ? error.message.slice(error.code.length + 2)
      : error.message;
    return { code: error.code, message: plain, details: error.details, stack: error.stack };
  }
  const known = error instanceof Error ? error : new Error(String(error));
  return { code: null, message: known.message, details: {}, stack: known.stack };
}

/** Errors that are not weir's become WEIR_E_ENGINE_REQUEST, with the engine's stack in `details`. */
export function messageToError({ code, message, details, stack }: ErrorMessage): WeirError {
  if (code !== null && code in ERROR_CODES) return new WeirError(code, message, details);
  return new WeirError("WEIR_E_ENGINE_REQUEST", `the engine failed on a request: ${message}`, { stack });
}
