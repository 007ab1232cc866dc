import { parseConfig } from "../../src/config/load.js";
import type { Config, ConfigInput } from "../../src/config/schema.js";
import { type SeedResult, simulateSeed } from "../../src/simulation/simulate.js";

/** Six steps in two phases, four groups of two in a step; no model and no data are there. */
export const SMALL = {
  model: { path: "no/such/model" },
  data: { train: ["no/such/tasks.jsonl"], heldout: ["no/such/heldout.jsonl"] },
  phases: [
    { maxTokens: 100, steps: 3 },
    { maxTokens: 300, steps: 3 },
  ],
  rollout: { groupSize: 2, promptsPerStep: 4, promptsPerCall: 2, queueGroups: 2, maxTokens: 1000 },
  update: { miniBatchPrompts: 2 },
  checkpoint: { everySteps: 2 },
  evaluation: { tasksPerBucket: 2 },
  simulation: { samplers: 1 },
} satisfies ConfigInput;

export function smallRun(given: Partial<ConfigInput> = {}): Config {
  return parseConfig({ ...SMALL, ...given });
}

export async function simulateSeeds(
  configOf: (seed: number) => Config,
  [first, last]: readonly [number, number],
  faults: number,
  rollbacks = 0,
  knobs = 0,
): Promise<SeedResult[]> {
  const results: SeedResult[] = [];
  for (let seed = first; seed <= last; seed++)
    results.push(await simulateSeed(configOf(seed), seed, { faults, rollbacks, knobs }));
  return results;
}

/** Lags 0 to 8, and 1 to 64 samplers, as the seed has it; 0 samplers: the trainer's own engine. */
export function anyRun(seed: number): Config {
  const maxLag = seed % 9;
  const samplers = [1, 2, 0, 3, 8, 64][seed % 6] as number;
  return smallRun({
    update: { miniBatchPrompts: 2, correction: { allowUncorrected: true } },
    async: { maxLag, inFlight: seed % 4 === 3 ? "continue" : "finish" },
    simulation: { samplers, tasks: 16, unscoredShare: seed % 5 === 0 ? 0.2 : 0 },
    ...(seed % 7 === 0 ? { warmup: { data: ["no/such/sft.jsonl"], batchRows: 2 } } : {}),
  });
}

/** What is wrong with results, in a form that a failing test shows. */
export const faultsOf = (results: readonly SeedResult[]) =>
  results
    .filter(({ deadlock, violations }) => deadlock !== null || violations.length > 0)
    .map(({ seed, deadlock, violations }) => ({ seed, deadlock, violations: violations.slice(0, 2) }));
