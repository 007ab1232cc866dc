/** The built-in benchmarks by the names that `weir eval --bench` uses. A new one is a file of src/benchmarks and a line below. */
import { createDocMath } from "../../../benchmarks/docmath.js";
import { createFrames } from "../../../benchmarks/frames.js";
import { createLongBench, type LongBenchSet } from "../../../benchmarks/longbench.js";
import { createVerl } from "../../../benchmarks/verl.js";
import type { Benchmark } from "../../../contracts/benchmark.js";
import type { RewardMode } from "../../../contracts/reward.js";
import type { BuiltInSource } from "./source.js";

export { createAaLcr as aa_lcr, createCorpusQa as corpusqa } from "../../../benchmarks/judge-only.js";
export { createLongBenchV2 as longbench_v2 } from "../../../benchmarks/longbench-v2.js";
export { createMrcr as mrcr } from "../../../benchmarks/mrcr.js";
export { createRuler as ruler } from "../../../benchmarks/ruler.js";

/** Those that the rules score go by `reward.mode`. */
const ruled =
  (create: (mode: RewardMode) => Benchmark) =>
  ({ config }: BuiltInSource): Benchmark =>
    create(config.reward.mode);
const longBench = (set: LongBenchSet) => ruled((mode) => createLongBench(set, mode));

export const docmath = ruled(createDocMath);
export const frames = ruled(createFrames);
const twoWikiMqa = longBench("2wikimqa");

export { twoWikiMqa as "2wikimqa" };
export const hotpotqa = longBench("hotpotqa");
export const musique = longBench("musique");
export const narrativeqa = longBench("narrativeqa");
export const qasper = longBench("qasper");
export const verl = ruled(createVerl);
