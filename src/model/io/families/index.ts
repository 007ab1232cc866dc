/** The families that can be run; all.ts lists them. */
import * as all from "./all.js";
import type { ModelFamily } from "./family.js";

export type { ModelFamily } from "./family.js";

export const FAMILIES: readonly ModelFamily[] = Object.values(all);

/** The family of a `model_type`. */
export function familyNamed(name: string): ModelFamily | undefined {
  return FAMILIES.find((family) => family.name === name);
}
