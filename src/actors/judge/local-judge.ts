/**
 * The judge `local`: any Hugging Face folder, frozen, in an engine process of its own. Prompt, cache, deadlines and the reading of replies are
 * those of the judge over a server. Invariant: the model is loaded before the time of a question begins.
 */
import type { Engine, EngineOptions } from "../../contracts/engine.js";
import type { Judge, JudgeOptions, JudgeReply, JudgeVerdict } from "../../contracts/judge.js";
import { WeirError } from "../../errors.js";
import { startEngine } from "../../model/engine/host.js";
import { readModelConfig } from "../../model/io/config.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { standingBytes, trainingStateBytes } from "../../model/transformer/memory-plan.js";
import { createJudge, type JudgeSettings } from "../../rewards/judge/judge.js";
import { realTime } from "../../system/time.js";
import { JudgeEngine } from "./judge-engine.js";
import { LocalBackend } from "./local-backend.js";
import { modelDigest } from "./model-digest.js";

/** Starts an engine process; the signal ends a start that takes too long. */
export type StartJudgeEngine = (
  modelDirectory: string,
  options: EngineOptions,
  signal?: AbortSignal,
) => Promise<Engine>;

export const startJudgeEngine: StartJudgeEngine = (modelDir, options, signal) =>
  startEngine({ modelDir, options, ...(signal ? { signal } : {}) });

export interface LocalJudgeOptions extends JudgeSettings {
  /** Hugging Face folder. */
  readonly path: string;
  /** Questions that are answered in one call of the engine. */
  readonly concurrency: number;
  /** Deadline of such a call, ms. */
  readonly timeoutMs: number;
  /** Of the engine process; `memoryGiB` is what the judge may take. */
  readonly engine: EngineOptions;
  readonly restartDelayMs: number;
  readonly start: StartJudgeEngine;
}

const BYTES_PER_GIB = 1024 ** 3;

export function createLocalJudge(options: LocalJudgeOptions): Judge {
  const { path, concurrency, timeoutMs, engine: engineOptions, start, restartDelayMs } = options;
  const engine = new JudgeEngine({
    start: async (signal) => {
      await assertFits(path, engineOptions);
      return start(path, engineOptions, signal);
    },
    restartDelayMs,
    time: realTime,
  });
  let opening: Promise<Judge> | null = null;
  const open = async () => {
    const [tokenizer, digest] = await Promise.all([loadTokenizer(path), modelDigest(path)]);
    const backend = new LocalBackend({ model: digest, tokenizer, engine, rows: concurrency, timeoutMs });
    return createJudge(backend, options);
  };
  /** The judge with its model loaded; null when the signal aborts first. Errors: those of tokenizer, model and engine. */
  const ready = async (signal: AbortSignal): Promise<Judge | null> => {
    opening ??= open();
    const judge = await opening;
    return (await engine.engine(signal)) === null ? null : judge;
  };
  const asked = async <T>(given: JudgeOptions, ask: (judge: Judge) => Promise<T>): Promise<T | Fault> => {
    try {
      const judge = await ready(given.signal);
      return judge === null ? fault("the question was cancelled") : await ask(judge);
    } catch (error) {
      return fault(error instanceof Error ? error.message : String(error));
    }
  };
  return {
    kind: "local",
    specificationVersion: 1,
    ask: (query, given): Promise<JudgeVerdict> => asked(given, (judge) => judge.ask(query, given)),
    chat: (messages, given): Promise<JudgeReply> =>
      asked(given, (judge) => (judge.chat as NonNullable<Judge["chat"]>)(messages, given)),
    readiness: engine,
    async connect({ signal }) {
      await ready(signal);
    },
    async dispose() {
      await engine.close();
      await (await opening?.catch(() => null))?.dispose?.();
    },
  };
}

type Fault = { readonly kind: "failed"; readonly code: string; readonly reason: string };

const fault = (reason: string): Fault => ({ kind: "failed", code: "WEIR_E_JUDGE", reason });

/** Errors: WEIR_E_CONFIG where the model needs more memory than the judge may take. */
async function assertFits(path: string, { memoryGiB, precision }: EngineOptions): Promise<void> {
  if (memoryGiB === null) return;
  const form = { precision, fused: false, copies: precision === "bfloat16", lora: null };
  const config = await readModelConfig(path);
  const needed = (standingBytes(config, form) - trainingStateBytes(config, form)) / BYTES_PER_GIB;
  if (needed <= memoryGiB) return;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `the judge's model in ${path} needs ${needed.toFixed(2)} GiB, its part of the memory is ${memoryGiB.toFixed(2)} GiB; raise reward.judge.memoryGiB or engine.memoryGiB, or take a smaller model`,
    { path: "reward.judge.memoryGiB", needed, memoryGiB },
  );
}
