/** A small benchmark and a policy with known answers. */
import type { BenchmarkRun } from "../../src/actors/evaluation/evaluate-benchmark.js";
import { lengthBucket } from "../../src/actors/evaluation/length-buckets.js";
import type { Benchmark, BenchmarkRow } from "../../src/contracts/benchmark.js";
import type { EvaluatedResponse } from "../../src/contracts/evaluated-response.js";
import type { Answer, Responder } from "../../src/contracts/responder.js";

/** Right where the response is the gold; "?" cannot be scored. */
export const tinyBenchmark: Benchmark = {
  kind: "tiny",
  specificationVersion: 1,
  item: (row, index) => ({
    id: typeof row.id === "string" ? row.id : String(index),
    source: "tiny",
    messages: [{ role: "user", content: String(row.question) }],
    golds: [String(row.gold)],
    meta: {},
  }),
  async score(item, response) {
    if (response === "?") return { kind: "unscored", code: "WEIR_E_JUDGE", reason: "no verdict" };
    const value = item.golds.includes(response) ? 1 : 0;
    return { kind: "scored", value, scores: { em: value }, prediction: response };
  },
};

export async function* rowsOf(rows: readonly BenchmarkRow[]): AsyncGenerator<BenchmarkRow> {
  yield* rows;
}

export const answered = (text: string): Answer => ({ kind: "answered", text, tokens: text.length, finish: "stop" });

/** Answers what `answer` says to a question and a seed; a question has as many tokens as characters. */
export function scriptedResponder(
  answer: (question: string, seed: number) => Answer,
  shape: { readonly questionsPerCall?: number; readonly callsInFlight?: number } = {},
): Responder & { readonly calls: string[][] } {
  const calls: string[][] = [];
  return {
    kind: "scripted",
    questionsPerCall: shape.questionsPerCall ?? 2,
    callsInFlight: shape.callsInFlight ?? 2,
    calls,
    measure: (messages) => (messages[0]?.content ?? "").length,
    async respond(questions, { signal }) {
      signal.throwIfAborted();
      calls.push(questions.map(({ id }) => id));
      return questions.map(({ messages, seeds }) => {
        const text = messages[0]?.content ?? "";
        return {
          questionTokens: text.length,
          promptTokens: text.length,
          answers: seeds.map((seed) => answer(text, seed)),
        };
      });
    },
  };
}

/** A run over rows with everything at a plain value; `recorded` gets what it records. */
export function runOf(
  rows: readonly BenchmarkRow[],
  responder: Responder,
  recorded: EvaluatedResponse[],
  over: Partial<BenchmarkRun> = {},
): BenchmarkRun {
  return {
    ...{ name: "tiny", benchmark: tinyBenchmark, file: "tiny.jsonl", rows: rowsOf(rows), responder, judge: null },
    ...{ requireThink: false, samples: 1, seed: 3, limit: null, perBucket: null },
    bucketOf: (tokens) => lengthBucket(tokens, [10, 20]),
    known: () => null,
    stored: () => null,
    retryFailed: false,
    record: (response) => recorded.push(response),
    ...{ scoreTimeoutMs: 1_000, scoreConcurrency: 4 },
    ...over,
  };
}
