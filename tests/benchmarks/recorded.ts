/** The recorded scores of tests/fixtures/benchmarks (README.md there says which scorers gave them). */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import * as benchmarks from "../../src/actors/parts/lists/benchmarks.js";
import { parseConfig } from "../../src/config/load.js";
import type { Benchmark, BenchmarkRow } from "../../src/contracts/benchmark.js";

export interface Recorded {
  readonly benchmark: string;
  readonly row: BenchmarkRow;
  readonly response: string;
  readonly expected: {
    readonly value: number;
    readonly scores: Readonly<Record<string, number>>;
    readonly prediction: string | null;
  };
  /** What the judge says, where one decides. */
  readonly reply?: string;
}

export function recordedScores(): Recorded[] {
  const file = new URL("../fixtures/benchmarks/scores.jsonl.gz", import.meta.url);
  const lines = gunzipSync(readFileSync(file)).toString("utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Recorded);
}

/** A built-in benchmark as a configuration makes it. */
export function builtIn(name: string, mode: "paper" | "released" = "released"): Benchmark {
  const config = parseConfig({ model: { path: "model" }, data: { train: ["tasks.jsonl"] }, reward: { mode } });
  const create = benchmarks[name as keyof typeof benchmarks];
  return create({ config, embedded: null });
}

export const BENCHMARK_NAMES = Object.keys(benchmarks);
