/** `weir bench grpo`: whole RL steps (sample, reward, train) of one size, medians after the warm-up. */
import { median } from "../../algorithms/statistics.js";
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { withEngineOptions } from "../with-engine.js";
import { withBenchModel } from "./model.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { type RlStepTimes, timedRlStep } from "./rl-step.js";
import { gigabytes, rounded } from "./statistics.js";

export interface GrpoOptions extends EngineChoice {
  readonly model?: string;
  readonly prompt: string;
  readonly completion: string;
  readonly group: string;
  readonly prompts: string;
  readonly steps: string;
  readonly warmup: string;
  readonly microBatchTokens: string;
}

export interface GrpoResult {
  readonly step_s: number;
  readonly generate_s: number;
  readonly train_s: number;
  readonly sampled_tok_per_s: number;
  readonly padding_share: number;
  readonly max_rss_gb: number;
  readonly executor: string;
  /** Steps before the measured ones, in which graphs are compiled. */
  readonly warmup_s: number;
  readonly backend: string;
  readonly precision: string;
}

export async function benchGrpo(options: GrpoOptions): Promise<GrpoResult> {
  const shape = {
    prompts: wholeNumber("prompts", options.prompts, 1),
    group: wholeNumber("group", options.group, 1),
    prompt: wholeNumber("prompt", options.prompt, 1),
    completion: wholeNumber("completion", options.completion, 1),
  };
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup);
  const microBatchTokens = wholeNumber("micro-batch-tokens", options.microBatchTokens, 1);
  const settings = engineOptions(options);
  return withBenchModel(options.model, ({ directory }) =>
    withEngineOptions({ modelDir: directory, options: settings }, async (engine, signal) => {
      const line = progress();
      const all: RlStepTimes[] = [];
      for (let step = 0; step < warmup + steps; step += 1) {
        const times = await timedRlStep(engine, shape, step, microBatchTokens, signal);
        all.push(times);
        line.update(`step ${step + 1}/${warmup + steps}  ${times.step.toFixed(2)} s`);
      }
      line.done();
      const measured = all.slice(warmup);
      const generate = median(measured.map((times) => times.generate));
      const { peakRssBytes } = await engine.stats({ signal });
      return {
        step_s: rounded(median(measured.map((times) => times.step))),
        generate_s: rounded(generate),
        train_s: rounded(median(measured.map((times) => times.train))),
        sampled_tok_per_s: rounded((shape.prompts * shape.group * shape.completion) / generate),
        padding_share: rounded(median(measured.map((times) => times.paddingShare))),
        max_rss_gb: gigabytes(peakRssBytes),
        executor: engine.info.executor,
        warmup_s: rounded(all.slice(0, warmup).reduce((sum, times) => sum + times.step, 0)),
        backend: engine.info.backend,
        precision: engine.info.precision,
      };
    }),
  );
}
