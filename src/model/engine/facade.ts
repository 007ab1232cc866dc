/** Builds the `Engine` of the contract over a function that carries out one call; used in process and over IPC. */
import type { Engine, EngineInfo, ModelInfo } from "../../contracts/engine.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { EvaluateLoss } from "../../contracts/trainer.js";
import type { EngineCalls, EngineMethod } from "./protocol.js";

export type Call = <M extends EngineMethod>(
  method: M,
  input: EngineCalls[M]["input"],
  signal: AbortSignal,
  evaluate?: EvaluateLoss,
) => Promise<EngineCalls[M]["output"]>;

export interface FacadeParts {
  readonly info: EngineInfo;
  readonly model: ModelInfo;
  readonly version: () => PolicyVersion;
  readonly call: Call;
  readonly exited: Engine["exited"];
  readonly close: () => Promise<void>;
}

export function engineFacade({ info, model, version, call, exited, close }: FacadeParts): Engine {
  return {
    kind: "tfjs",
    specificationVersion: 1,
    info,
    model,
    version,
    exited,
    close,
    sample: (request, { signal }) => call("sample", request, signal),
    forwardBackward: (batch, { signal, evaluate }) =>
      call("forwardBackward", { batch, asks: evaluate !== undefined }, signal, evaluate),
    sftForwardBackward: (batch, { signal }) => call("sftForwardBackward", batch, signal),
    optimStep: (config, { signal, reportTensors }) =>
      call("optimStep", { config, reportTensors: reportTensors ?? false }, signal),
    logprobs: (groups, { signal, temperature, which, microBatchTokens }) =>
      call("logprobs", { groups, temperature, which, microBatchTokens }, signal),
    scoreSequences: (sequences, { signal }) => call("scoreSequences", sequences, signal),
    freezeReference: async ({ signal }) => {
      await call("freezeReference", null, signal);
    },
    save: (directory, { signal, optimiser }) => call("save", { directory, optimiser }, signal),
    restore: (directory, { signal }) => call("restore", { directory }, signal),
    resetOptimiser: async ({ signal }) => {
      await call("resetOptimiser", null, signal);
    },
    stats: ({ signal }) => call("stats", null, signal),
    planMemory: (size, { signal }) => call("planMemory", size, signal),
  };
}
