/** What a response answers, for scorers that read all of it: the part after its thinking, without end-of-sequence text. */
import type { BenchmarkScore } from "../contracts/benchmark.js";
import { answerPart, withoutEndText } from "../rewards/text.js";

/** Null where there is none: nothing follows `</think>`, or the tag is missing and required. */
export function answerOf(response: string, requireThink: boolean): string | null {
  return answerPart(withoutEndText(response), requireThink);
}

/** A score in [0, 1] that is also stored under `name`. */
export function scoredAs(name: string, value: number, prediction: string | null): BenchmarkScore {
  return { kind: "scored", value, scores: { [name]: value }, prediction };
}
