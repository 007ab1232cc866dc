import type { Judge, JudgeUse } from "./judge.js";
import type { ChatMessage, Json } from "./task.js";

/** A row of a benchmark's file, as its own format has it. */
export type BenchmarkRow = Readonly<Record<string, Json>>;

/** One question of a benchmark. */
export interface BenchmarkItem {
  /** Stable and unique within the benchmark: the row's own id where it has one, else its number. */
  readonly id: string;
  /** Part of the benchmark that tables tell apart: a subset, domain or number of needles. */
  readonly source: string;
  /** What the policy is asked. One long message is cut in the middle where it does not fit. */
  readonly messages: readonly ChatMessage[];
  /** Accepted answers as the scorer compares them, at least one. */
  readonly golds: readonly string[];
  /** What scorer and tables need besides, such as the question alone. */
  readonly meta: Readonly<Record<string, Json>>;
}

/**
 * A scored response. `value` is what the benchmark reports, in [0, 1]; `scores` names everything measured (em, f1, sub_em, judge …).
 * A response that could not be scored is `unscored`, with its reason, and never a 0 (I1).
 */
export type BenchmarkScore =
  | {
      readonly kind: "scored";
      readonly value: number;
      readonly scores: Readonly<Record<string, number>>;
      /** The parsed answer; null where none was found. */
      readonly prediction: string | null;
      readonly judge?: JudgeUse;
    }
  | { readonly kind: "unscored"; readonly code: string; readonly reason: string; readonly judge?: JudgeUse };

export interface ScoringOptions {
  readonly signal: AbortSignal;
  /** Null where none is configured; a scorer that cannot do without one says so by `needsJudge`. */
  readonly judge: Judge | null;
  /** A response without `</think>` has no answer. */
  readonly requireThink: boolean;
}

/** A data set as it is reported: how its rows are read, asked and scored. */
export interface Benchmark {
  readonly kind: string;
  readonly specificationVersion: 1;
  /** The scorer gives nothing without a judge. */
  readonly needsJudge?: boolean;
  /** Where values other than 0 and 1 occur, the value from which a response counts as right for pass@k; 1 when left out. */
  readonly correctAt?: number;
  /** Errors: WEIR_E_DATA naming the row and the column where it cannot be read. */
  item(row: BenchmarkRow, index: number): BenchmarkItem;
  score(item: BenchmarkItem, response: string, options: ScoringOptions): Promise<BenchmarkScore>;
  dispose?(): Promise<void> | void;
}
