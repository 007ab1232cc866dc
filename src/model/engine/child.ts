/**
 * The engine process: takes requests over IPC, one at a time, and answers. Started by host.ts only.
 * Invariants: exits when its parent does; environment variables of TensorFlow are set before the addon loads.
 */
import type { LossEvaluation, LossSequence } from "../../contracts/loss.js";
import { WeirError } from "../../errors.js";
import { EngineCore } from "./core.js";
import { dispatch, errorToMessage, messageToError } from "./dispatch.js";
import type { FromEngine, ToEngine } from "./protocol.js";

type Request = Extract<ToEngine, { kind: "request" }>;

let core: EngineCore | null = null;
let queue: Promise<void> = Promise.resolve();
const aborts = new Map<number, AbortController>();
/** Loss evaluations of the current request that its caller has not answered yet; at most one. */
const asked = new Map<number, { resolve: (evaluation: LossEvaluation) => void; reject: (error: Error) => void }>();

function send(message: FromEngine): void {
  if (process.connected) process.send?.(message);
}

async function start(message: Extract<ToEngine, { kind: "start" }>): Promise<void> {
  try {
    core = await EngineCore.open(message.modelDir, message.options, message.rotaryDtype ?? undefined);
  } catch (error) {
    send({ kind: "refused", error: errorToMessage(error) });
    return;
  }
  send({ kind: "ready", info: core.info, model: core.modelInfo, version: core.version() });
  const beat = () => send({ kind: "heartbeat", rssBytes: process.memoryUsage.rss() });
  setInterval(beat, Math.max(50, Math.floor(message.options.heartbeatMs / 2))).unref();
}

async function answer(request: Request, signal: AbortSignal): Promise<void> {
  try {
    if (core === null) throw new WeirError("WEIR_E_STATE", "a request came before the engine had loaded its model");
    if (signal.aborted) throw new WeirError("WEIR_E_ENGINE_ABORTED", "the request was cancelled before it began");
    const evaluate = (sequences: readonly LossSequence[]) => askCaller(request.id, sequences, signal);
    const output = await dispatch(core, request.method, request.input as never, signal, evaluate);
    send({ kind: "reply", id: request.id, output, version: core.version() });
  } catch (error) {
    send({ kind: "error", id: request.id, error: errorToMessage(error) });
  } finally {
    aborts.delete(request.id);
  }
}

/** Sends sequences to the caller and waits for its loss; an abort of the request ends the wait. */
function askCaller(id: number, sequences: readonly LossSequence[], signal: AbortSignal): Promise<LossEvaluation> {
  return new Promise((resolve, reject) => {
    const done = () => {
      signal.removeEventListener("abort", onAbort);
      asked.delete(id);
    };
    const onAbort = () => {
      done();
      reject(new WeirError("WEIR_E_ENGINE_ABORTED", "the request was cancelled while its loss was evaluated"));
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    asked.set(id, {
      resolve: (evaluation) => {
        done();
        resolve(evaluation);
      },
      reject: (error) => {
        done();
        reject(error);
      },
    });
    send({ kind: "evaluate", id, sequences });
  });
}

process.on("message", (message: ToEngine) => {
  switch (message.kind) {
    case "start":
      queue = queue.then(() => start(message));
      break;
    case "request": {
      const controller = new AbortController();
      aborts.set(message.id, controller);
      queue = queue.then(() => answer(message, controller.signal));
      break;
    }
    case "evaluated":
      asked.get(message.id)?.resolve(message.evaluation);
      break;
    case "unevaluated":
      asked.get(message.id)?.reject(messageToError(message.error));
      break;
    case "abort":
      aborts.get(message.id)?.abort();
      break;
    case "close":
      queue = queue.then(() => process.exit(0));
      break;
  }
});

// Without its parent the process has no work.
process.on("disconnect", () => process.exit(0));
// Ctrl-C of a terminal and the end of a service go to the whole process group; the parent decides when the engine ends.
process.on("SIGINT", () => undefined).on("SIGTERM", () => undefined);
