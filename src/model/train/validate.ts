/** Checks of what callers send to the learner, before any tensor is made: shapes, ids and lengths. */
import type { PolicyBatch, SftBatch } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import type { ModelConfig } from "../io/config.js";
import { assertIds } from "../transformer/token-ids.js";

function assertLength(name: string, values: readonly number[], length: number): void {
  if (values.length === length) return;
  throw new WeirError("WEIR_E_SHAPE", `${name} must have one number per token (${length}), got ${values.length}`, {
    name,
  });
}

/** One finite number per token. */
function assertPerToken(name: string, values: readonly number[], length: number): void {
  assertLength(name, values, length);
  const wrong = values.find((value) => !Number.isFinite(value));
  if (wrong === undefined) return;
  throw new WeirError("WEIR_E_NON_FINITE", `${name} must be finite numbers, got ${wrong}; nothing was changed`, {
    name,
  });
}

function assertPositive(name: string, value: number): void {
  if (value > 0 && Number.isFinite(value)) return;
  throw new WeirError("WEIR_E_SHAPE", `${name} must be a positive number, got ${value}`, { name });
}

export function assertPolicyBatch(batch: PolicyBatch, config: ModelConfig): void {
  assertPositive("microBatchTokens", batch.microBatchTokens);
  assertPositive("temperature", batch.loss.temperature);
  assertPositive("denominators.tokens", batch.denominators.tokens);
  assertPositive("denominators.sequences", batch.denominators.sequences);
  const own = batch.groups.flatMap(({ completions }) => completions.map(({ oldLogprobs }) => oldLogprobs === null));
  if (new Set(own).size > 1) {
    throw new WeirError("WEIR_E_SHAPE", "a batch needs oldLogprobs of every completion or of none, got some nulls");
  }
  if (own[0] === true && batch.oldPolicy === null) {
    throw new WeirError("WEIR_E_SHAPE", "a batch without oldLogprobs needs oldPolicy, the version that they are of");
  }
  for (const { promptIds, completions } of batch.groups) {
    assertIds(
      config,
      promptIds,
      completions.map(({ tokenIds }) => tokenIds),
    );
    for (const { tokenIds, advantages, oldLogprobs, refLogprobs, weights } of completions) {
      assertPerToken("advantages", advantages, tokenIds.length);
      if (weights) assertPerToken("weights", weights, tokenIds.length);
      if (oldLogprobs !== null) assertPerToken("oldLogprobs", oldLogprobs, tokenIds.length);
      if (refLogprobs !== null) assertPerToken("refLogprobs", refLogprobs, tokenIds.length);
      else if (batch.loss.klCoefficient !== 0) {
        throw new WeirError("WEIR_E_SHAPE", "a KL coefficient needs refLogprobs of every completion, got null");
      }
    }
  }
}

export function assertSftBatch(batch: SftBatch, config: ModelConfig): void {
  assertPositive("microBatchTokens", batch.microBatchTokens);
  let supervised = false;
  for (const { tokenIds, lossMask } of batch.rows) {
    assertIds(config, tokenIds, [[]]);
    assertLength("lossMask", lossMask, tokenIds.length);
    for (const value of lossMask) {
      if (!(value >= 0) || !Number.isFinite(value)) {
        throw new WeirError("WEIR_E_SHAPE", `a loss mask holds finite weights of at least 0, got ${value}`);
      }
    }
    supervised ||= lossMask.some((value, token) => token > 0 && value > 0);
  }
  if (!supervised)
    throw new WeirError("WEIR_E_SHAPE", "a supervised batch needs at least one supervised token, got none");
}
