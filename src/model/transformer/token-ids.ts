/** What token ids a model takes: those of its vocabulary, in sequences that fit its positions. */
import { WeirError } from "../../errors.js";
import type { ModelConfig } from "../io/config.js";

/** Ids must exist in the vocabulary, the prompt must not be empty, and everything must fit the positions. */
export function assertIds(
  config: ModelConfig,
  promptIds: readonly number[],
  completions: readonly (readonly number[])[],
): void {
  if (promptIds.length === 0) {
    throw new WeirError("WEIR_E_SHAPE", "a sequence or prompt needs at least one token, got none");
  }
  for (const ids of [promptIds, ...completions]) {
    for (const id of ids) {
      if (!Number.isInteger(id) || id < 0 || id >= config.vocabSize) {
        throw new WeirError(
          "WEIR_E_SHAPE",
          `token ids must be whole numbers in [0, ${config.vocabSize}), got ${id}; use the model's own tokenizer`,
          { id },
        );
      }
    }
  }
  const longest = completions.reduce((length, ids) => Math.max(length, ids.length), 0);
  if (promptIds.length + longest > config.maxPositions) {
    throw new WeirError(
      "WEIR_E_PROMPT_TOO_LONG",
      `a prompt of ${promptIds.length} tokens and a response of ${longest} were given, the model has ${config.maxPositions} positions; shorten the prompt or the response`,
      { prompt: promptIds.length, response: longest, positions: config.maxPositions },
    );
  }
}
