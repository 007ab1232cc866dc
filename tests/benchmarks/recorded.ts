/** The recorded scores of tests/fixtures/benchmarks (README.md there says which scorers gave them). */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { createRegistry } from "../../src/actors/parts/built-ins.js";
import type { PartRegistry } from "../../src/actors/parts/registry.js";
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

function registryOf(mode: "paper" | "released"): PartRegistry {
  return createRegistry(parseConfig({ model: { path: "model" }, data: { train: ["tasks.jsonl"] }, reward: { mode } }));
}

const REGISTRIES = { paper: registryOf("paper"), released: registryOf("released") } as const;

/** A built-in benchmark as a configuration makes it, its answers checked. */
export function builtIn(name: string, mode: "paper" | "released" = "released"): Benchmark {
  return REGISTRIES[mode].build("benchmark", { benchmark: name });
}

export const BENCHMARK_NAMES = REGISTRIES.released.names("benchmark");
