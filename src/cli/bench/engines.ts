/**
 * `weir bench engines`: what a pairing of trainer and sampler costs, by a few RL steps of each configuration given. The steps are those
 * of a run, on the configuration's own parts and data, with a reward that gives every group a gradient.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import { createTrainingSystem } from "../../actors/run/training-system.js";
import { mean, median } from "../../algorithms/statistics.js";
import { loadConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import type { MetricName, MetricValues } from "../../contracts/metrics.js";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { progress } from "../output.js";
import { busyShare } from "./machine.js";
import { PARITY } from "./parity-reward.js";
import { rounded } from "./statistics.js";

export interface EnginesOptions {
  readonly steps: string;
  readonly warmup: string;
  /** Options of all configurations, as `path=value`. */
  readonly set: readonly string[];
}

/** One configuration. Times are medians over the measured steps, s; null where a run does not tell them. */
export interface EnginesRow {
  readonly config: string;
  readonly trainer: string;
  readonly sampler: string;
  readonly lag: number;
  readonly sampled_tok_per_s: number | null;
  readonly sample_s: number | null;
  readonly train_s: number | null;
  /** From naming the new weights to having them in the policy store. */
  readonly publish_s: number | null;
  readonly adopt_s: number | null;
  readonly step_s: number | null;
  /** Mean over the steps of |sampler − trainer| log-prob at the same version, nats. */
  readonly mismatch_nats: number | null;
}

export interface EnginesResult {
  readonly steps: number;
  /** Largest share of the processors that others used before a run. */
  readonly load: number;
  readonly rows: readonly EnginesRow[];
}

export async function benchEngines(files: readonly string[], options: EnginesOptions): Promise<EnginesResult> {
  const steps = wholeNumber("steps", options.steps, 1);
  const warmup = wholeNumber("warmup", options.warmup, 1);
  const configs: (readonly [file: string, config: Config])[] = [];
  for (const file of files) configs.push([file, await loadConfig(file, options.set)]);
  const line = progress();
  const rows: EnginesRow[] = [];
  let load = 0;
  for (const [file, config] of configs) {
    load = Math.max(load, await busyShare());
    const say = (step: number) => line.update(`${file}: step ${step}/${warmup + steps}`);
    const measured = await measuredSteps(config, warmup + steps, say);
    rows.push(rowOf(basename(file, extname(file)), config, measured.slice(warmup)));
  }
  line.done();
  return { steps, load: rounded(load), rows };
}

/** Metrics of the RL steps of one configuration. */
async function measuredSteps(
  config: Config,
  steps: number,
  say: (step: number) => void,
): Promise<readonly MetricValues[]> {
  const folder = await mkdtemp(join(tmpdir(), "weir-bench-"));
  try {
    const system = createTrainingSystem(benchConfig(config, folder, steps), { actors: { reward: PARITY } });
    const found: MetricValues[] = [];
    system.metrics$.subscribe(({ values }) => {
      if (values["time/step_seconds"] === undefined) return;
      found.push(values);
      say(found.length);
    });
    await system.start();
    await system.done;
    return found;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first phase alone, with every group trained on, and without what a run does besides its steps. */
function benchConfig(config: Config, folder: string, steps: number): Config {
  const [first] = config.phases;
  if (first === undefined) throw new WeirError("WEIR_E_CONFIG", "a configuration has at least one phase", {});
  return {
    ...config,
    run: { ...config.run, directory: join(folder, "runs"), id: "engines" },
    phases: [{ ...first, steps }],
    warmup: { ...config.warmup, data: [] },
    data: { ...config.data, heldout: [] },
    dynamicSampling: { ...config.dynamicSampling, enabled: false },
    evaluation: { ...config.evaluation, initial: false },
    checkpoint: { ...config.checkpoint, everySteps: 0 },
    monitor: { ...config.monitor, enabled: false },
    log: { ...config.log, level: "silent", file: false },
  };
}

/** Errors: WEIR_E_BENCHMARK where no step was measured. */
export function rowOf(name: string, config: Config, steps: readonly MetricValues[]): EnginesRow {
  if (steps.length === 0)
    throw new WeirError("WEIR_E_BENCHMARK", `${name}: the run ended without a step that could be measured`, { name });
  const over = (metric: MetricName, take: (values: readonly number[]) => number): number | null => {
    const values = steps.flatMap((values) => values[metric] ?? []);
    return values.length === 0 ? null : take(values);
  };
  const typical = (metric: MetricName) => over(metric, (values) => rounded(median(values)));
  return {
    config: name,
    trainer: config.trainer.actor,
    sampler: config.sampler.actor,
    lag: config.async.maxLag,
    sampled_tok_per_s: typical("throughput/sampled_tokens_per_second"),
    sample_s: typical("time/sample_seconds"),
    train_s: typical("time/train_seconds"),
    publish_s: typical("time/publish_seconds"),
    adopt_s: typical("time/adopt_seconds"),
    step_s: typical("time/step_seconds"),
    // Differences between engines are far below what `rounded` keeps.
    mismatch_nats: over("mismatch_abs", (values) => Number(mean(values).toPrecision(3))),
  };
}
