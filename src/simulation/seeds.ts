import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Config } from "../config/schema.js";
import { type SeedResult, type SimulateOptions, simulateSeed } from "./simulate.js";

/** Simulates many seeds, on all cores where that is worth it. A seed's result does not depend on where it runs. */

/** What a worker is given: every `stride`-th seed from `first` on. */
export interface SeedsTask {
  readonly config: Config;
  readonly options: SimulateOptions;
  readonly first: number;
  readonly last: number;
  readonly stride: number;
}

/** Fewer seeds take less time than a worker needs to load its modules. */
const SEEDS_PER_WORKER = 50;

/** Results in the order of seeds; `onResult` hears of each as it comes. */
export async function simulateSeeds(
  config: Config,
  [first, last]: readonly [number, number],
  options: SimulateOptions,
  onResult: (result: SeedResult) => void,
): Promise<SeedResult[]> {
  const results: SeedResult[] = [];
  const take = (result: SeedResult) => {
    results.push(result);
    onResult(result);
  };
  const workers = Math.min(availableParallelism(), Math.floor((last - first + 1) / SEEDS_PER_WORKER));
  // Workers run compiled code only.
  const script = fileURLToPath(new URL("./seeds-worker.js", import.meta.url));
  if (workers < 2 || !existsSync(script))
    for (let seed = first; seed <= last; seed++) take(await simulateSeed(config, seed, options));
  else
    await Promise.all(
      Array.from({ length: workers }, (_, w) =>
        inWorker(script, { config, options, first: first + w, last, stride: workers }, take),
      ),
    );
  return results.sort((a, b) => a.seed - b.seed);
}

function inWorker(script: string, task: SeedsTask, take: (result: SeedResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script, { workerData: task });
    worker.on("message", take);
    worker.on("error", reject);
    worker.on("exit", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`a worker of the simulator ended with code ${code}`));
    });
  });
}
