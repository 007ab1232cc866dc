import type { PairPrecisions } from "../../streams/telemetry/limits.js";
import type { RunContext } from "./run-context.js";

/** Precisions of a run's sampler and trainer as they tell them now; null where both are the embedded engine. */
export function foreignPrecisions({ origins, parts }: Pick<RunContext, "origins" | "parts">): PairPrecisions | null {
  const { sampler, trainer } = origins();
  if ([sampler, trainer].every((part) => part?.kind === "engine" && part.source === "built-in")) return null;
  return {
    sampler: parts.sampler.capabilities.precision ?? null,
    trainer: parts.trainer.capabilities.precision ?? null,
  };
}
