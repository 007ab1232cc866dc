/**
 * `weir bench soak`: many small RL steps in one engine process, to see whether its memory grows. Prompt lengths cycle
 * through a few, so that caches per shape stop growing early.
 */
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { withEngineOptions } from "../with-engine.js";
import { SOAK_MODEL, withBenchModel } from "./model.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { timedRlStep } from "./rl-step.js";
import { gigabytes, leastSquaresSlope, rounded } from "./statistics.js";

export interface SoakOptions extends EngineChoice {
  readonly steps: string;
}

export interface MemorySample {
  readonly step: number;
  readonly rss_mib: number;
  readonly tensors: number;
}

export interface SoakResult {
  readonly steps: number;
  readonly slope_kib_per_step: number;
  readonly rss_first_mib: number;
  readonly rss_last_mib: number;
  readonly tensors_first: number;
  readonly tensors_last: number;
  readonly max_rss_gb: number;
  readonly graphs: number;
  readonly seconds: number;
  readonly executor: string;
  readonly samples: readonly MemorySample[];
}

const SAMPLE_EVERY_STEPS = 10;
/** Compilation and the allocator's pools settle in the first part, which the slope leaves out. */
const SETTLING_SHARE = 0.2;
const PROMPT_LENGTHS = [24, 32, 40] as const;
const SHAPE = { prompts: 2, group: 4, completion: 16 } as const;
const MICRO_BATCH_TOKENS = 16_384;

/** KiB per step over what comes after the first fifth of the steps. */
export function memorySlope(samples: readonly MemorySample[]): number {
  const last = samples.at(-1)?.step ?? 0;
  const settled = samples.filter(({ step }) => step >= SETTLING_SHARE * last);
  return leastSquaresSlope(
    settled.map(({ step }) => step),
    settled.map(({ rss_mib }) => rss_mib * 1024),
  );
}

export async function benchSoak(options: SoakOptions): Promise<SoakResult> {
  const steps = wholeNumber("steps", options.steps, SAMPLE_EVERY_STEPS);
  const settings = engineOptions(options);
  return withBenchModel(
    undefined,
    ({ directory }) =>
      withEngineOptions({ modelDir: directory, options: settings }, async (engine, signal) => {
        const line = progress();
        const samples: MemorySample[] = [];
        const started = performance.now();
        for (let step = 1; step <= steps; step += 1) {
          const prompt = PROMPT_LENGTHS[step % PROMPT_LENGTHS.length] as number;
          await timedRlStep(engine, { ...SHAPE, prompt }, step, MICRO_BATCH_TOKENS, signal);
          if (step % SAMPLE_EVERY_STEPS !== 0) continue;
          const { rssBytes, tensors } = await engine.stats({ signal });
          const rss_mib = Number((rssBytes / 2 ** 20).toFixed(2));
          samples.push({ step, rss_mib, tensors });
          line.update(`step ${step}/${steps}  ${rss_mib.toFixed(0)} MiB  ${tensors} tensors`);
        }
        line.done();
        const { peakRssBytes, graphs } = await engine.stats({ signal });
        const [first, last] = [samples[0] as MemorySample, samples.at(-1) as MemorySample];
        return {
          steps,
          slope_kib_per_step: rounded(memorySlope(samples)),
          rss_first_mib: first.rss_mib,
          rss_last_mib: last.rss_mib,
          tensors_first: first.tensors,
          tensors_last: last.tensors,
          max_rss_gb: gigabytes(peakRssBytes),
          graphs,
          seconds: rounded((performance.now() - started) / 1000),
          executor: engine.info.executor,
          samples,
        };
      }),
    SOAK_MODEL,
  );
}
