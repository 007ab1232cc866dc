import type { EvaluatedResponse } from "../../src/contracts/evaluated-response.js";

/** A response of an evaluation; `value` null is one that the judge could not score. */
export function responseOf({
  value = 1,
  ...given
}: Partial<EvaluatedResponse> & { readonly value?: number | null } = {}): EvaluatedResponse {
  return {
    ...{ benchmark: "b", item: "a", row: 0, source: "x", asked: "same", sample: 0, seed: 7 },
    ...{ questionTokens: 5, promptTokens: 5, response: "text", responseTokens: 3, finish: "stop" },
    ...given,
    outcome:
      value === null
        ? { kind: "unscored", code: "WEIR_E_JUDGE", reason: "the judge is away" }
        : { kind: "scored", value, scores: { rule: value }, prediction: "text" },
  };
}
