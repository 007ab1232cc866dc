import type { Json } from "../../contracts/task.js";
import type { WeirError } from "../../errors.js";
import type { RunContext } from "./run-context.js";

/** A busy or lost engine must not prevent the report. */
const STATS_TIMEOUT_MS = 10_000;

/** `report.json` of a run: why it failed or null, held-out counts by stage and length bucket, results of benchmarks by stage, seconds by activity, memory, engine and seed. */
export async function runReport(context: RunContext, failure: WeirError | null): Promise<Json> {
  const { config, progress, engine } = context;
  const { model } = context.parts.trainer;
  const rounded = Object.fromEntries(
    Object.entries(progress.seconds).map(([name, seconds]) => [name, Math.round(seconds * 1000) / 1000]),
  );
  const total = Object.values(rounded).reduce((sum, seconds) => sum + seconds, 0);
  const stats = await engine.stats({ signal: AbortSignal.timeout(STATS_TIMEOUT_MS) }).catch(() => null);
  return {
    schema_version: 1,
    seed: config.run.seed,
    engine:
      engine.info === null
        ? null
        : {
            backend: engine.info.backend,
            executor: engine.info.executor,
            version: engine.info.backendVersion,
            reason: engine.info.reason,
          },
    parts: { sampler: context.parts.sampler.kind, trainer: context.parts.trainer.kind },
    model: { family: model.family, parameters: model.parameters, trainedParameters: model.trainedParameters },
    policy: { ...context.policies.version },
    failure: failure === null ? null : { code: failure.code, message: failure.message },
    steps: { warmup: progress.warmupStep, rl: progress.step },
    // Optimiser steps that changed weights.
    updates: { warmup: progress.warmupUpdates, rl: progress.updates },
    phases: context.curriculumMachine.getSnapshot().context.bands.map((band) => ({ ...band })),
    heldout: progress.heldout as unknown as Json,
    benchmarks: progress.benchmarks as unknown as Json,
    seconds: { ...rounded, total: Math.round(total * 1000) / 1000 },
    memory: {
      // Largest resident memory of each process since its start; null where the engine does not say.
      enginePeakBytes: stats === null || stats.peakRssBytes === 0 ? null : stats.peakRssBytes,
      controlPeakBytes: process.resourceUsage().maxRSS * 1024,
    },
    ledger: { ...context.store.ledgerCounts() },
    queues: context.gauges
      .read()
      .map((gauge) => ({ name: gauge.name, bound: gauge.bound, highWater: gauge.highWater, passed: gauge.passed })),
  };
}
