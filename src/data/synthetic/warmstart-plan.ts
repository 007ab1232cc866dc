/**
 * How the demo's base model is made: its shape, the stages of its corpus, and the optimiser. Measured choices:
 * one question per document teaches nothing in 6 M tokens, eight make reading appear after about 3 M; names that are one
 * token each and many small steps (8 rows) get there several times sooner than subword names and 32 rows; short documents
 * come first; two-hop questions are always worked out, one-hop questions are sometimes answered directly.
 */
import type { CorpusOptions } from "./warmstart-corpus.js";

export interface WarmstartStage {
  readonly name: string;
  readonly rows: number;
  readonly corpus: Omit<CorpusOptions, "seed">;
}

/** A part of the training with a learning-rate curve of its own; the optimiser's moments go on. */
export interface WarmstartRound {
  readonly stages: readonly WarmstartStage[];
  /** Peak learning rate; linear warm-up, then cosine down to `learningRateFloor` of it. */
  readonly learningRate: number;
}

export interface WarmstartPlan {
  readonly rounds: readonly WarmstartRound[];
  /** Rows per optimiser step. */
  readonly batchRows: number;
  readonly warmupSteps: number;
  readonly learningRateFloor: number;
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
}

export const WARMSTART_PLAN: WarmstartPlan = {
  rounds: [
    {
      stages: [
        {
          name: "short",
          rows: 12_800,
          corpus: { facts: [4, 8], questions: 8, twoHopShare: 0.5, directShare: [0.25, 0], documentWeight: 0.1 },
        },
        {
          name: "longer",
          rows: 9_600,
          corpus: { facts: [6, 24], questions: 8, twoHopShare: 0.5, directShare: [0.25, 0], documentWeight: 0.1 },
        },
      ],
      learningRate: 2e-3,
    },
  ],
  batchRows: 8,
  warmupSteps: 100,
  learningRateFloor: 0.1,
  betas: [0.9, 0.98],
  weightDecay: 0.01,
};

/** Batches of similar length are cut from chunks of this many batches. */
const CHUNK_BATCHES = 20;

/** The batches of the plan as row numbers within their stage; `lengthOf` gives a row's length in tokens. */
export function planBatches(
  stage: WarmstartStage,
  batchRows: number,
  lengthOf: (row: number) => number,
  shuffle: <T>(items: readonly T[], chunk: number) => T[],
): number[][] {
  const batches: number[][] = [];
  const chunkRows = batchRows * CHUNK_BATCHES;
  for (let start = 0; start < stage.rows; start += chunkRows) {
    const rows = Array.from({ length: Math.min(chunkRows, stage.rows - start) }, (_, at) => start + at);
    const length = new Map(rows.map((row) => [row, lengthOf(row)]));
    rows.sort((one, other) => (length.get(one) as number) - (length.get(other) as number) || one - other);
    const own: number[][] = [];
    for (let at = 0; at + batchRows <= rows.length; at += batchRows) own.push(rows.slice(at, at + batchRows));
    batches.push(...shuffle(own, start / chunkRows));
  }
  return batches;
}

/** Learning rate of step `step` (from 0) of a round of `steps` steps. */
export function warmstartRate(plan: WarmstartPlan, round: WarmstartRound, step: number, steps: number): number {
  const rising = Math.min(1, (step + 1) / plan.warmupSteps);
  const falling =
    plan.learningRateFloor + (1 - plan.learningRateFloor) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  return round.learningRate * rising * falling;
}
