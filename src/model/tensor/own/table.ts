/** Looks up weir's own operations. Invariant: what is not declared cannot be emitted. */
import { WeirError } from "../../../errors.js";
import type { OwnOperation } from "./declaration.js";
import { OWN_OPERATIONS } from "./table.generated.js";

/** Throws WEIR_E_SHAPE for an operation that is not declared. */
export function operationOf(name: string): OwnOperation {
  const found = OWN_OPERATIONS[name];
  if (found === undefined) throw new WeirError("WEIR_E_SHAPE", `${name} is not declared in native/operations.json`);
  return found;
}

export function isOwn(name: string): boolean {
  return name in OWN_OPERATIONS;
}
