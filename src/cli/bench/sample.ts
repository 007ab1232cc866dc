/** `weir bench sample`: sampling alone; each prompt is drawn for a whole group, so its prefix is computed once. */
import { median } from "../../algorithms/statistics.js";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { withEngineOptions } from "../with-engine.js";
import { withBenchModel } from "./model.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { type RlShape, sampleRequest } from "./rl-step.js";
import { gigabytes, rounded } from "./statistics.js";

export interface SampleOptions extends EngineChoice {
  readonly model?: string;
  readonly rows: string;
  readonly group: string;
  readonly prompt: string;
  readonly completion: string;
  readonly steps: string;
  readonly warmup: string;
}

export interface SampleResult {
  readonly tok_per_s: number;
  readonly seconds: number;
  readonly prompts: number;
  readonly group: number;
  readonly executor: string;
  readonly max_rss_gb: number;
  readonly warmup_s: number;
  readonly backend: string;
  readonly precision: string;
}

/** Errors: WEIR_E_USAGE where the rows are no whole number of groups. */
function shapeOf(options: SampleOptions): RlShape {
  const rows = wholeNumber("rows", options.rows, 1);
  const group = wholeNumber("group", options.group, 1);
  if (rows % group !== 0)
    throw new WeirError("WEIR_E_USAGE", `--rows: expected a multiple of --group ${group}, got ${rows}`, {
      rows,
      group,
    });
  return {
    prompts: rows / group,
    group,
    prompt: wholeNumber("prompt", options.prompt, 1),
    completion: wholeNumber("completion", options.completion, 1),
  };
}

export async function benchSample(options: SampleOptions): Promise<SampleResult> {
  const shape = shapeOf(options);
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup);
  const settings = engineOptions(options);
  return withBenchModel(options.model, ({ directory }) =>
    withEngineOptions({ modelDir: directory, options: settings }, async (engine, signal) => {
      const line = progress();
      const all: number[] = [];
      for (let step = 0; step < warmup + steps; step += 1) {
        const request = sampleRequest(engine.model.vocabSize, shape, step, "evaluation");
        const started = performance.now();
        await engine.sampler.sample(request, { signal });
        all.push((performance.now() - started) / 1000);
        line.update(`call ${step + 1}/${warmup + steps}  ${(all[step] as number).toFixed(2)} s`);
      }
      line.done();
      const seconds = median(all.slice(warmup));
      const { peakRssBytes } = await engine.stats({ signal });
      return {
        tok_per_s: rounded((shape.prompts * shape.group * shape.completion) / seconds),
        seconds: rounded(seconds),
        prompts: shape.prompts,
        group: shape.group,
        executor: engine.info.executor,
        max_rss_gb: gigabytes(peakRssBytes),
        warmup_s: rounded(all.slice(0, warmup).reduce((sum, value) => sum + value, 0)),
        backend: engine.info.backend,
        precision: engine.info.precision,
      };
    }),
  );
}
