/** The engine in the caller's own process: for unit tests and short commands; arithmetic blocks the event loop. */
import type { Engine } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import type { RotaryDtype } from "../transformer/rope.js";
import { EngineCore } from "./core.js";
import { dispatch } from "./dispatch.js";
import type { CoreOptions } from "./executor.js";
import { type Call, engineFacade } from "./facade.js";

const noLoss = () => {
  throw new WeirError("WEIR_E_STATE", "the batch names no loss and none was given");
};

/** Loads a model into this process. One backend per process: WEIR_E_STATE where another one is open. */
export async function startInProcessEngine(input: {
  readonly modelDir: string;
  readonly options: CoreOptions;
  readonly rotaryDtype?: RotaryDtype;
}): Promise<Engine> {
  const core = await EngineCore.open(input.modelDir, input.options, input.rotaryDtype);
  let queue: Promise<unknown> = Promise.resolve();
  let closed = false;
  let announce: (value: { expected: boolean; reason: string }) => void = () => undefined;
  const exited = new Promise<{ expected: boolean; reason: string }>((resolve) => {
    announce = resolve;
  });
  const call: Call = (method, payload, signal, evaluate = noLoss) => {
    const result = queue.then(() => {
      if (closed) throw new WeirError("WEIR_E_ENGINE_CRASHED", "the engine was closed; start another one");
      if (signal.aborted) throw new WeirError("WEIR_E_ENGINE_ABORTED", "the request was cancelled before it began");
      return dispatch(core, method, payload, signal, evaluate);
    });
    queue = result.catch(() => undefined);
    return result;
  };
  return engineFacade({
    info: core.info,
    model: core.modelInfo,
    version: () => core.version(),
    call,
    exited,
    close: async () => {
      if (closed) return;
      await queue;
      closed = true;
      core.dispose();
      announce({ expected: true, reason: "closed" });
    },
  });
}
