/**
 * `weir bench step`: one optimiser step of supervised training, again and again. Each of `batch` rows has `length`
 * inputs and as many targets; a step is forward, backward and AdamW, timed from request to reply.
 */
import { median } from "../../algorithms/statistics.js";
import type { Engine } from "../../contracts/engine.js";
import type { SftBatch } from "../../contracts/trainer.js";
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { withEngineOptions } from "../with-engine.js";
import { stepFlops } from "./flops.js";
import { expectedBackend, largerPeak, measureGemmPeak } from "./gemm-peak.js";
import { withBenchModel } from "./model.js";
import { commit, STEP_OPTIMISER } from "./optimiser.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { randomIds } from "./random-ids.js";
import { gigabytes, rounded } from "./statistics.js";

export interface StepOptions extends EngineChoice {
  readonly model?: string;
  readonly batch: string;
  readonly length: string;
  readonly steps: string;
  readonly warmup: string;
  readonly microBatchTokens: string;
}

export interface StepResult {
  readonly tok_per_s: number;
  /** The backend's own speed at large products; null where it has none of the type. */
  readonly gemm_gflops: number | null;
  /** Useful operations of a step (see flops.ts) per second, as a share of that speed. */
  readonly peak_share: number | null;
  readonly executor: string;
  readonly max_rss_gb: number;
  readonly step_s: number;
  readonly warmup_s: number;
  readonly backend: string;
  readonly precision: string;
}

/** Rows of length + 1 ids: the model sees all but the last, and every id but the first is a target. */
export function sftBatch(
  vocabulary: number,
  step: number,
  rows: number,
  length: number,
  microBatchTokens: number,
): SftBatch {
  const row = (index: number) => ({
    tokenIds: randomIds(vocabulary, length + 1, "bench-row", step, index),
    lossMask: Array.from({ length: length + 1 }, (_, token) => (token === 0 ? 0 : 1)),
  });
  return { rows: Array.from({ length: rows }, (_, index) => row(index)), aggregation: "token-mean", microBatchTokens };
}

/** Seconds of one step. */
export async function timedSftStep(engine: Engine, batch: SftBatch, signal: AbortSignal): Promise<number> {
  const started = performance.now();
  await engine.trainer.sftForwardBackward(batch, { signal });
  await commit(engine.trainer, STEP_OPTIMISER, signal);
  return (performance.now() - started) / 1000;
}

export async function benchStep(options: StepOptions): Promise<StepResult> {
  const batch = wholeNumber("batch", options.batch, 1);
  const length = wholeNumber("length", options.length, 1);
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup);
  const microBatchTokens = wholeNumber("micro-batch-tokens", options.microBatchTokens, 1);
  const settings = engineOptions(options);
  const before = await measureGemmPeak(expectedBackend(settings.backend));
  return withBenchModel(options.model, async (model) => {
    const line = progress();
    const run = await withEngineOptions({ modelDir: model.directory, options: settings }, async (engine, signal) => {
      const seconds: number[] = [];
      for (let step = 0; step < warmup + steps; step += 1) {
        const rows = sftBatch(model.config.vocabSize, step, batch, length, microBatchTokens);
        seconds.push(await timedSftStep(engine, rows, signal));
        line.update(`step ${step + 1}/${warmup + steps}  ${(seconds[step] as number).toFixed(2)} s`);
      }
      return { seconds, info: engine.info, stats: await engine.stats({ signal }) };
    });
    line.done();
    const peaks = largerPeak(before, await measureGemmPeak(run.info.backend));
    const peak = peaks[options.dtype] ?? peaks.f32;
    const seconds = median(run.seconds.slice(warmup));
    const gflops = stepFlops(model.config, batch, length) / seconds / 1e9;
    return {
      tok_per_s: rounded((batch * length) / seconds),
      gemm_gflops: peak,
      peak_share: peak === null ? null : rounded(gflops / peak),
      executor: run.info.executor,
      max_rss_gb: gigabytes(run.stats.peakRssBytes),
      step_s: rounded(seconds),
      warmup_s: rounded(run.seconds.slice(0, warmup).reduce((sum, value) => sum + value, 0)),
      backend: run.info.backend,
      precision: run.info.precision,
    };
  });
}
