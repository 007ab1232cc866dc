/** Built-in losses as parts. The update recognises them, since the engine traces them itself. */
import type { LossName, LossPart, LossSettings } from "../contracts/loss.js";
import { evaluateLoss } from "./evaluate.js";
import { policyLossNamed } from "./index.js";

interface BuiltIn {
  readonly name: LossName;
  readonly settings: LossSettings;
}

const BUILT_INS = new WeakMap<LossPart, BuiltIn>();

export function createBuiltInLoss(name: LossName, settings: LossSettings): LossPart {
  const loss = policyLossNamed(name);
  const part: LossPart = {
    kind: name,
    specificationVersion: 1,
    aggregation: loss.aggregation,
    evaluate: (sequences) => evaluateLoss(loss, sequences, settings),
  };
  BUILT_INS.set(part, { name, settings });
  return part;
}

/** Name and settings of a loss that `createBuiltInLoss` made; null for a custom loss, whatever its kind is. */
export function builtInLoss(part: LossPart): BuiltIn | null {
  return BUILT_INS.get(part) ?? null;
}
