/** Builds the `Engine` of the contract over a function that carries out one call; used in process and over IPC. */
import type { Engine, EngineInfo } from "../../contracts/engine.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { EvaluateLoss, Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { LOSS_NAMES } from "../../losses/index.js";
import { createHandleStore } from "../../system/handle-store.js";
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

export function engineFacade(parts: FacadeParts): Engine {
  const { info, model, version, call, exited, close } = parts;
  return {
    info,
    model,
    sampler: samplerOf(parts),
    trainer: trainerOf(parts),
    policyStore: createHandleStore(),
    version,
    exited,
    close,
    scoreSequences: (sequences, { signal }) => call("scoreSequences", sequences, signal),
    stats: ({ signal }) => call("stats", null, signal),
    planMemory: (size, { signal }) => call("planMemory", size, signal),
  };
}

function samplerOf({ call, info, version }: FacadeParts): Sampler {
  let running = 0;
  return {
    kind: "engine",
    specificationVersion: 2,
    capabilities: {
      logprobBasis: "scaled",
      seeds: "per-sequence",
      tokenVersions: false,
      adopts: ["handle", "checkpoint", "adapter"],
      heldVersions: 1,
      entropies: true,
      abort: true,
      precision: info.precision,
    },
    async sample({ id, prompts, params, policy, purpose, deadlineMs }, { signal }) {
      const input = { prompts, params, policy, forTraining: purpose === "training" };
      running += 1;
      try {
        return await within(deadlineMs, id, signal, (inner) => call("sample", input, inner));
      } finally {
        running -= 1;
      }
    },
    adopt: async (policy, { signal }) => {
      await call("adopt", policy, signal);
    },
    release: async () => undefined,
    load: async () => ({
      running: Math.min(running, 1),
      waiting: Math.max(0, running - 1),
      cacheUse: null,
      versions: [version().n],
    }),
  };
}

function trainerOf({ call, info, model }: FacadeParts): Trainer {
  const adapters = model.trainedParameters !== model.parameters;
  return {
    kind: "engine",
    specificationVersion: 2,
    capabilities: {
      losses: LOSS_NAMES,
      evaluates: true,
      lossScale: "denominators",
      trains: adapters ? "adapter" : "full",
      clipsGradients: true,
      discardsGradients: true,
      revisesSteps: true,
      reference: true,
      reusesActivations: info.executor === "compiled",
      publishes: adapters ? ["handle", "checkpoint", "adapter"] : ["handle", "checkpoint"],
      precision: info.precision,
    },
    model,
    forwardBackward: (batch, { signal, evaluate }) =>
      call("forwardBackward", { batch, asks: evaluate !== undefined }, signal, evaluate),
    sftForwardBackward: (batch, { signal }) => call("sftForwardBackward", batch, signal),
    gradientNorm: ({ signal }) => call("gradientNorm", null, signal),
    discardGradients: async ({ signal }) => {
      await call("discardGradients", null, signal);
    },
    optimStep: (config, { signal, reportTensors = false, revisable = false }) =>
      call("optimStep", { config, reportTensors, revisable }, signal),
    reviseStep: async (share, { signal }) => {
      await call("reviseStep", { share }, signal);
    },
    logprobs: (groups, { signal, temperature, which, microBatchTokens }) =>
      call("logprobs", { groups, temperature, which, microBatchTokens }, signal),
    publish: ({ signal, as, folder }) => call("publish", { as, folder }, signal),
    saveState: async (directory, { signal }) => {
      await call("saveState", { directory }, signal);
    },
    loadState: (directory, { signal, above = null }) => call("loadState", { directory, above }, signal),
    freezeReference: async ({ signal }) => {
      await call("freezeReference", null, signal);
    },
    resetOptimiser: async ({ signal }) => {
      await call("resetOptimiser", null, signal);
    },
  };
}

/** Node's timers fire at once beyond it. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Cancels a call that is not answered within its deadline. Errors: WEIR_E_ENGINE_TIMEOUT. */
async function within<T>(
  deadlineMs: number,
  id: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), Math.min(deadlineMs, LONGEST_TIMER_MS));
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } catch (error) {
    if (!late.signal.aborted || signal.aborted) throw error;
    throw new WeirError("WEIR_E_ENGINE_TIMEOUT", `sampling ${id} took longer than its deadline of ${deadlineMs} ms`, {
      id,
      limitMs: deadlineMs,
    });
  } finally {
    clearTimeout(timer);
  }
}
