import type { EvaluationTask } from "../actors/evaluation/evaluate.js";
import type { RunTokenizer } from "../actors/run/run-context.js";
import type { Config } from "../config/schema.js";
import type { Phase } from "../contracts/phase.js";
import type { SftRow } from "../contracts/trainer.js";

/** Tasks, rows and a tokenizer that need no files: a run's control plane sees lengths and names only. */

/** Optimiser steps' worth of rows of the warm-up. */
const WARMUP_BATCHES = 2;

/** Tasks with prompts of each phase's length. */
export function scriptedTasks(
  config: Config,
  phases: readonly Phase[],
  purpose: "train" | "heldout",
): EvaluationTask[] {
  const { tasks } = config.simulation;
  return phases.flatMap(({ k, minTokens, maxTokens }) =>
    Array.from({ length: tasks }, (_, i): EvaluationTask => {
      const promptTokens = minTokens + 1 + (i % (maxTokens - minTokens));
      const id = `${purpose}-${k}-${i}`;
      const task = {
        id,
        messages: [],
        document: null,
        goldAnswers: ["simulated"],
        source: "simulated",
        promptTokens,
        meta: {},
      };
      return { task, promptIds: [1] };
    }),
  );
}

/** Rows where the configuration has a warm-up; none else. */
export function scriptedSftRows({ warmup }: Config): SftRow[] {
  if (warmup.data.length === 0) return [];
  return Array.from({ length: WARMUP_BATCHES * warmup.batchRows }, () => ({ tokenIds: [1, 2], lossMask: [0, 1] }));
}

export const scriptedTokenizer: RunTokenizer = {
  endOfTurn: null,
  encode: () => [1],
  decode: () => "",
  applyChatTemplate: () => ({ text: "", ids: [1] }),
  tokenText: () => "",
};
