/** What a configuration asks of samples of older policies: rollout correction, and whether their training may start at all. */
import type { Config } from "../../config/schema.js";
import type { LossPart } from "../../contracts/loss.js";
import { WeirError } from "../../errors.js";
import { builtInLoss } from "../../losses/built-in.js";
import { policyLossNamed } from "../../losses/index.js";
import type { CorrectionOptions } from "../../losses/rollout-correction.js";

/** The correction that the update applies; null where neither weights nor rejection are asked for. */
export function correctionOf({ update }: Pick<Config, "update">): CorrectionOptions | null {
  const { importance, lower, upper, rejection, rejectionEstimator, rejectionLower, rejectionUpper } = update.correction;
  if (importance === "none" && rejection === "none") return null;
  return {
    importance: importance === "none" ? null : { level: importance, lower, upper },
    rejection:
      rejection === "none"
        ? null
        : {
            level: rejection,
            estimator: rejectionEstimator,
            lower: rejectionLower ?? 1 / rejectionUpper,
            upper: rejectionUpper,
          },
  };
}

/**
 * Refuses `async.maxLag` above 0 where nothing bounds how much a token of an older policy counts: neither importance weights, nor a
 * loss that bounds the ratio to the sampler. Rejection alone does not count: what it leaves is still biased.
 * Errors: WEIR_E_CONFIG with the three ways out.
 */
export function assertOffPolicy(config: Pick<Config, "async" | "update">, loss: LossPart): void {
  const { maxLag } = config.async;
  const { oldLogprobs, correction } = config.update;
  if (maxLag === 0 || correction.allowUncorrected) return;
  const builtIn = builtInLoss(loss);
  const bounds = builtIn !== null && policyLossNamed(builtIn.name).boundsRatio(builtIn.settings);
  if (oldLogprobs === "recompute" ? correction.importance !== "none" : bounds) return;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "async.maxLag": with ${maxLag}, samples of older policies would be trained on uncorrected. Either set ` +
      "update.correction.importance to token (with update.oldLogprobs: recompute); or set update.oldLogprobs to sampler with a loss that " +
      "bounds its ratio: cispo, sapo, dppo_tv, or grpo, dapo and dr_grpo with loss.dualClip or loss.largestRatio " +
      `(the loss "${loss.kind}" ${bounds ? "does" : "does not"}); or set update.correction.allowUncorrected to true`,
    { maxLag, oldLogprobs, importance: correction.importance, loss: loss.kind },
  );
}
