/** The built-in benchmarks by the names that `weir eval --bench` uses. A new one is a file of src/benchmarks and a line below. */
import { createLongBench, type LongBenchSet } from "../../../benchmarks/longbench.js";
import type { Benchmark } from "../../../contracts/benchmark.js";
import type { BuiltInSource } from "./source.js";

type Create = (source: BuiltInSource) => Benchmark;

const ofLongBench =
  (set: LongBenchSet): Create =>
  ({ config }) =>
    createLongBench(set, config.reward.mode);

const twoWikiMqa = ofLongBench("2wikimqa");

export { twoWikiMqa as "2wikimqa" };
export const hotpotqa = ofLongBench("hotpotqa");
export const musique = ofLongBench("musique");
export const narrativeqa = ofLongBench("narrativeqa");
export const qasper = ofLongBench("qasper");
