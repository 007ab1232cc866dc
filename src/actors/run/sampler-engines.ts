/**
 * The sampler processes of `rollout.engines`: engines of the run's model that only sample, as one pool.
 *
 * Cores: with `engine.threads: 0` each of n samplers gets cores/n of them, rounded down, and the trainer all of them. In a synchronous
 * run the two never compute at the same time; in an asynchronous one the system divides the cores.
 * Memory: the budget is cut in n + 2 parts; the trainer gets two, since it holds gradients, moments and activations on top of the
 * weights, and each sampler, which plans for weights and KV cache only, gets one. Where the trainer is elsewhere, it is cut in n. A local
 * judge gets one part more, unless it has a budget of its own.
 */
import { availableParallelism } from "node:os";
import type { Config } from "../../config/schema.js";
import type { Engine, EngineOptions } from "../../contracts/engine.js";
import type { Sampler } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { memoryBudget } from "../../model/transformer/memory-plan.js";
import { realTime } from "../../system/time.js";
import { faced } from "../parts/part-errors.js";
import type { StartedSampler } from "../rollout/sampler-member.js";
import { MAX_TRIES, SamplerPool } from "../rollout/sampler-pool.js";
import type { EngineFactory } from "./engine-supervisor.js";

const BYTES_PER_GIB = 1024 ** 3;
/** Parts of the memory budget that the trainer gets; each sampler gets one. */
const TRAINER_PARTS = 2;

type EngineConfig = Pick<Config, "engine" | "rollout" | "sampler">;

/** Whether the run is trained by the embedded engine. */
export function trainsHere({ trainer }: Pick<Config, "trainer">): boolean {
  return trainer.actor === "engine";
}

/** Sampler processes that a configuration asks for. */
export function samplerCount({ rollout, sampler }: Pick<Config, "rollout" | "sampler">): number {
  return sampler.actor === "engine" ? rollout.engines : 0;
}

/** Sampler calls that are made at the same time: as many as all samplers work on together. */
export function samplerCalls(config: Pick<Config, "rollout" | "sampler">): number {
  const { actor, urls, callsPerServer } = config.sampler;
  const calls = actor === "vllm" || actor === "sglang" ? urls.length * callsPerServer : samplerCount(config);
  return config.rollout.callsInFlight ?? Math.max(1, calls);
}

/** Deadline of a sampler call, ms: with several samplers a call may be drawn again after the loss of one. */
export function sampleTimeoutMs(config: EngineConfig): number {
  return config.engine.requestTimeoutMs * (samplerCount(config) > 0 ? MAX_TRIES : 1);
}

/** The memory of a local judge, and of all other engine processes together, GiB. */
export interface JudgeMemory {
  /** Null where no judge of the run is local. */
  readonly judge: number | null;
  /** As `engine.memoryGiB` has it where no judge is. */
  readonly rest: number | null;
}

/** Errors: WEIR_E_CONFIG where a judge's own budget leaves nothing. */
export function judgeMemory(
  config: Pick<Config, "engine" | "rollout" | "sampler" | "reward">,
  trains: boolean,
  budget = (given: number | null) => memoryBudget(given) / BYTES_PER_GIB,
): JudgeMemory {
  const { engine, reward, sampler } = config;
  const { actor, memoryGiB } = reward.judge;
  if (actor !== "local" || reward.actor === "rule") return { judge: null, rest: engine.memoryGiB };
  const whole = budget(engine.memoryGiB);
  const samplers = Math.max(samplerCount(config), sampler.actor === "engine" && !trains ? 1 : 0);
  const judge = memoryGiB ?? whole / (samplers + (trains ? TRAINER_PARTS : 0) + 1);
  if (judge < whole || (samplers === 0 && !trains)) return { judge, rest: Math.max(0, whole - judge) };
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "reward.judge.memoryGiB": ${judge} GiB leaves nothing of the ${whole.toFixed(2)} GiB of all engine processes; lower it or raise engine.memoryGiB`,
    { path: "reward.judge.memoryGiB" },
  );
}

/** Memory of the trainer and of each sampler, GiB; null leaves the choice to the one engine there is. */
export function memoryParts(
  memoryGiB: number | null,
  samplers: number,
  trains: boolean,
  budget = (given: number | null) => memoryBudget(given) / BYTES_PER_GIB,
): { readonly trainer: number | null; readonly sampler: number } {
  if (samplers === 0) return { trainer: memoryGiB, sampler: 0 };
  const part = budget(memoryGiB) / (samplers + (trains ? TRAINER_PARTS : 0));
  return { trainer: TRAINER_PARTS * part, sampler: part };
}

/** Threads of one sampler; 0 leaves the choice to the backend. */
export function samplerThreads(threads: number, samplers: number, cores = availableParallelism()): number {
  return threads > 0 ? threads : Math.max(1, Math.floor(cores / samplers));
}

/**
 * The pool, whose processes are started with the first call; null where the trainer's engine samples. `besideTrainer`: an embedded
 * trainer works on the same machine.
 */
export function createSamplerEngines(
  config: Config,
  factory: EngineFactory,
  memoryGiB: number,
  besideTrainer = trainsHere(config),
): SamplerPool | null {
  const members = samplerCount(config);
  if (members === 0) return null;
  const { engine, model } = config;
  const options: EngineOptions = {
    ...engine,
    lora: null,
    threads: samplerThreads(engine.threads, members),
    memoryGiB,
  };
  return new SamplerPool({
    members,
    time: realTime,
    maxRestarts: engine.maxRestarts,
    restartDelayMs: engine.restartDelayMs,
    startTimeoutMs: engine.startTimeoutMs,
    adoptTimeoutMs: engine.requestTimeoutMs,
    callTimeoutMs: engine.requestTimeoutMs,
    start: async (_, signal) => started(await factory(model.path, options, signal), besideTrainer),
  });
}

function started(engine: Engine, besideTrainer: boolean): StartedSampler {
  const { sampler } = engine;
  const { capabilities } = sampler;
  const adopts = capabilities.adopts.filter((form) => form !== "adapter");
  return {
    // The trainer's process has merged its adapters already: merging once is faster than in each sampler.
    sampler: samplingOnly(besideTrainer ? { ...sampler, capabilities: { ...capabilities, adopts } } : sampler),
    exited: engine.exited,
    pid: engine.info.pid,
    close: () => engine.close(),
  };
}

/** Nothing is trained in the process, so that it need not keep activations for training: to it, every call is one of an evaluation. */
export function samplingOnly(sampler: Sampler): Sampler {
  return faced(sampler, {
    sample: (request, options) => sampler.sample({ ...request, purpose: "evaluation" }, options),
  });
}
