/** A worker thread of src/simulation/seeds.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { SeedsTask } from "./seeds.js";
import { simulateSeed } from "./simulate.js";

const { config, options, first, last, stride } = workerData as SeedsTask;
for (let seed = first; seed <= last; seed += stride) parentPort?.postMessage(await simulateSeed(config, seed, options));
