/** `weir bench engine`: speed of matrix products, and the time to start and compile. */
import { wholeNumber } from "../arguments.js";
import { withEngineOptions } from "../with-engine.js";
import { expectedBackend, measureGemmPeak } from "./gemm-peak.js";
import { withBenchModel } from "./model.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { gigabytes, rounded } from "./statistics.js";
import { sftBatch, timedSftStep } from "./step.js";

export interface EngineBenchOptions extends EngineChoice {
  readonly model?: string;
  readonly batch: string;
  readonly length: string;
}

export interface EngineResult {
  readonly gemm_f32_gflops: number | null;
  readonly gemm_bf16_gflops: number | null;
  /** From no process to one that has loaded the model. */
  readonly start_s: number;
  /** The first optimiser step, compilation included, and the second one of the same shape. */
  readonly first_step_s: number;
  readonly second_step_s: number;
  readonly compile_s: number;
  readonly graphs: number;
  readonly executor: string;
  readonly executor_reason: string;
  readonly precision: string;
  readonly backend: string;
  readonly backend_version: string;
  readonly backend_reason: string;
  readonly max_rss_gb: number;
}

export async function benchEngine(options: EngineBenchOptions): Promise<EngineResult> {
  const batch = wholeNumber("batch", options.batch, 1);
  const length = wholeNumber("length", options.length, 1);
  const settings = engineOptions(options);
  const peak = await measureGemmPeak(expectedBackend(settings.backend));
  return withBenchModel(options.model, ({ directory, config }) => {
    const started = performance.now();
    return withEngineOptions({ modelDir: directory, options: settings }, async (engine, signal) => {
      const startSeconds = (performance.now() - started) / 1000;
      const step = (index: number) =>
        timedSftStep(engine, sftBatch(config.vocabSize, index, batch, length, batch * length), signal);
      const first = await step(0);
      const { graphs, compileSeconds } = await engine.stats({ signal });
      const second = await step(1);
      const { peakRssBytes } = await engine.stats({ signal });
      return {
        gemm_f32_gflops: peak.f32,
        gemm_bf16_gflops: peak.bf16,
        start_s: rounded(startSeconds),
        first_step_s: rounded(first),
        second_step_s: rounded(second),
        compile_s: rounded(compileSeconds),
        graphs,
        executor: engine.info.executor,
        executor_reason: engine.info.executorReason,
        precision: engine.info.precision,
        backend: engine.info.backend,
        backend_version: engine.info.backendVersion,
        backend_reason: engine.info.reason,
        max_rss_gb: gigabytes(peakRssBytes),
      };
    });
  });
}
