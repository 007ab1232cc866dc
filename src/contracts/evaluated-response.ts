import type { BenchmarkScore } from "./benchmark.js";

/** Why a response has no score: the policy gave none, or the scorer could not score it. */
export type ResponseOutcome =
  | BenchmarkScore
  | { readonly kind: "unanswered"; readonly code: string; readonly reason: string };

/** One response of an evaluation: the unit of its files. */
export interface EvaluatedResponse {
  readonly benchmark: string;
  /** Id of the item within the benchmark. */
  readonly item: string;
  /** Row of the file, from 0. */
  readonly row: number;
  readonly source: string;
  /** First 16 hex digits of the SHA-256 of what was asked: two evaluations that compare asked the same. */
  readonly asked: string;
  /** In [0, samples). */
  readonly sample: number;
  readonly seed: number;
  /** Templated prompt before and after it was cut, tokens; null where unknown. */
  readonly questionTokens: number | null;
  readonly promptTokens: number | null;
  /** Null where the policy gave no response; the three after it likewise. */
  readonly response: string | null;
  readonly responseTokens: number | null;
  readonly finish: "stop" | "length" | null;
  readonly outcome: ResponseOutcome;
}
