import { WeirError } from "../errors.js";
import * as all from "./all.js";
import type { PolicyLoss } from "./policy-loss.js";

/** The built-in policy losses by name. */
export const POLICY_LOSSES: Readonly<Record<string, PolicyLoss>> = all;

/** Their names. */
export const LOSS_NAMES: readonly string[] = Object.keys(POLICY_LOSSES);

/** Errors: WEIR_E_ACTOR_UNKNOWN for a name that no built-in loss has. */
export function policyLossNamed(name: string): PolicyLoss {
  const found = Object.hasOwn(POLICY_LOSSES, name) ? POLICY_LOSSES[name] : undefined;
  if (found !== undefined) return found;
  throw new WeirError("WEIR_E_ACTOR_UNKNOWN", `unknown loss "${name}"; built in are ${LOSS_NAMES.join(", ")}`, {
    name,
  });
}
