import type { Config } from "../../config/schema.js";
import type { Benchmark } from "../../contracts/benchmark.js";
import type { Judge } from "../../contracts/judge.js";

type BenchmarkConfig = Config["evaluation"]["benchmarks"][number];

/** The benchmarks of a run, ready to be asked. */
export interface RunBenchmarks {
  readonly all: readonly (BenchmarkConfig & { readonly benchmark: Benchmark })[];
  /** The judge that the run's reward asks now, or one of their own; null without. */
  readonly judge: () => Judge | null;
  dispose(): Promise<void>;
}
