/** Statistics of a data set: sources, lengths, length buckets. Pure. */

import { phaseOf } from "../algorithms/phases.js";
import { nearestRank } from "../algorithms/statistics.js";
import type { Task } from "../contracts/task.js";
import { fingerprintTasks } from "./fingerprint.js";

const SHARES = { min: 0, p25: 0.25, p50: 0.5, p75: 0.75, p95: 0.95, max: 1 } as const;

export type LengthQuantiles = Readonly<Record<keyof typeof SHARES, number>>;

export interface BucketCount {
  /** 1-based phase number; null for tasks beyond the last bound. */
  readonly k: number | null;
  readonly minTokens: number;
  /** Null where there is no upper bound. */
  readonly maxTokens: number | null;
  readonly count: number;
}

export interface DataStatistics {
  readonly count: number;
  readonly fingerprint: string;
  readonly sources: Readonly<Record<string, number>>;
  /** Tokens of the templated prompt where the tasks were measured, characters of the messages otherwise. */
  readonly unit: "tokens" | "characters";
  readonly length: LengthQuantiles;
  readonly buckets: readonly BucketCount[];
}

/** Statistics of at least one task; buckets are given by growing upper bounds in tokens (Eq. 9) and need measured tasks. */
export function dataStatistics(tasks: readonly Task[], bounds: readonly number[]): DataStatistics {
  const measured = tasks.every((task) => task.promptTokens > 0);
  const lengths = tasks.map((task) => (measured ? task.promptTokens : characters(task)));
  const sources = new Map<string, number>();
  for (const { source } of tasks) sources.set(source, (sources.get(source) ?? 0) + 1);
  const phases = tasks.map((task) => phaseOf(task.promptTokens, bounds));
  const bucket = (k: number | null): BucketCount => ({
    k,
    minTokens: k === null ? (bounds.at(-1) ?? 0) : (bounds[k - 2] ?? 0),
    maxTokens: k === null ? null : (bounds[k - 1] ?? null),
    count: phases.filter((phase) => phase === k).length,
  });
  return {
    count: tasks.length,
    fingerprint: fingerprintTasks(tasks),
    sources: Object.fromEntries([...sources].sort(([a], [b]) => (a < b ? -1 : 1))),
    unit: measured ? "tokens" : "characters",
    length: Object.fromEntries(
      Object.entries(SHARES).map(([name, share]) => [name, nearestRank(lengths, share)]),
    ) as LengthQuantiles,
    buckets: measured && bounds.length > 0 ? [...bounds.map((_, i) => bucket(i + 1)), bucket(null)] : [],
  };
}

function characters(task: Task): number {
  return task.messages.reduce((sum, message) => sum + (message.content ?? "").length, 0);
}
