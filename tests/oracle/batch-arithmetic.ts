/** The counting of a distributed run as the release configures it: ranks, trajectories, optimiser steps, batches per epoch. */
import { WeirError } from "../../src/errors.js";

export interface BatchPlanInput {
  readonly gpus: number;
  /** Width of sequence parallelism. */
  readonly sequenceParallel: number;
  readonly promptsPerStep: number;
  readonly rollouts: number;
  readonly miniBatchPrompts: number;
  readonly generationBatchPrompts: number;
  readonly datasetRows: number;
  readonly dropLast: boolean;
  readonly epochs: number;
}

export interface BatchPlan {
  readonly dataParallel: number;
  readonly trajectories: number;
  readonly miniBatchSequences: number;
  readonly sequencesPerRankPerMiniBatch: number;
  readonly optimiserStepsPerStep: number;
  readonly trajectoriesPerGenerationBatch: number;
  readonly generationBatchesPerEpoch: number;
  /** As the release counts: generation batches × epochs; too many where a step needs several rounds. */
  readonly totalSteps: number;
}

/** Throws WEIR_E_CONFIG where a division that must be exact is not. */
export function batchPlan(input: BatchPlanInput): BatchPlan {
  const dataParallel = divide("gpus", input.gpus, "sequenceParallel", input.sequenceParallel);
  const miniBatchSequences = input.miniBatchPrompts * input.rollouts;
  const batches = input.datasetRows / input.generationBatchPrompts;
  const generationBatchesPerEpoch = input.dropLast ? Math.floor(batches) : Math.ceil(batches);
  return {
    dataParallel,
    trajectories: input.promptsPerStep * input.rollouts,
    miniBatchSequences,
    sequencesPerRankPerMiniBatch: divide("mini-batch sequences", miniBatchSequences, "ranks", dataParallel),
    optimiserStepsPerStep: divide("promptsPerStep", input.promptsPerStep, "miniBatchPrompts", input.miniBatchPrompts),
    trajectoriesPerGenerationBatch: input.generationBatchPrompts * input.rollouts,
    generationBatchesPerEpoch,
    totalSteps: generationBatchesPerEpoch * input.epochs,
  };
}

function divide(name: string, value: number, byName: string, by: number): number {
  if (!(by > 0) || value % by !== 0) {
    throw new WeirError("WEIR_E_CONFIG", `${name} (${value}) must be a multiple of ${byName} (${by})`);
  }
  return value / by;
}
