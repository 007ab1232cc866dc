import type { Config } from "../../config/schema.js";
import { TrainingPipeline } from "../pipeline/training-pipeline.js";
import { tellHolds } from "./holds.js";
import { rolloutOptions, trainBatch } from "./rl-step.js";
import type { RunContext } from "./run-context.js";

/** Makes the pipeline of a run. `config` gives the options as the knobs are set now. `context` is read when the pipeline works: it holds the pipeline itself. */
export function createPipeline(
  given: Pick<RunContext, "time" | "tasks" | "policies" | "gauges" | "store" | "log" | "workers">,
  config: () => Config,
  context: () => RunContext,
): TrainingPipeline {
  const { time, tasks, policies, gauges, store, log, workers = null } = given;
  const curriculum = () => context().curriculumMachine.getSnapshot().context;
  const step = () => context().progress.step + 1;
  const pipeline = new TrainingPipeline({
    get config() {
      return config();
    },
    ...{ time, tasks, policies, gauges, step, workers },
    parts: () => context().parts,
    ledger: (entry) => store.ledger(entry),
    phase: () => curriculum().phase,
    stepsLeft: () => {
      const { phase, bands } = curriculum();
      const since = bands.findLast(({ toStep }) => toStep === null)?.fromStep ?? step();
      return (context().phases[phase - 1]?.steps ?? 0) - (step() - since);
    },
    rollout: () => rolloutOptions(context()),
    update: (kept, batch, policy, signal) => trainBatch(context(), kept, batch, policy, signal),
    changed: ({ stage, state, error, restarts }) => {
      const reason = error === null ? null : error instanceof Error ? error.message : String(error);
      context().taps.fact("actor.changed", context().progress.step, { actor: stage, state, reason, restarts });
      const text = `stage ${stage}: ${state}${reason === null ? "" : `: ${reason}`}`;
      if (state === "running") log.info({ actor: stage, restarts }, text);
      else log.warn({ actor: stage, restarts }, text);
      gauges.publish();
    },
  });
  pipeline.gate.onChange(tellHolds(context));
  return pipeline;
}
