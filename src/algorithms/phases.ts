/** The phase rule (Eq. 9): which context-length bucket a task belongs to. Lengths in tokens of the templated prompt. */
import type { Phase } from "../contracts/phase.js";
import { WeirError } from "../errors.js";

/**
 * Eq. 9: the k (1-based) with L_{k−1} < length ≤ L_k, L_0 = 0; null where no phase holds the length.
 * Throws WEIR_E_CONFIG where bounds do not grow.
 */
export function phaseOf(length: number, bounds: readonly number[]): number | null {
  let previous = 0;
  let found: number | null = null;
  bounds.forEach((bound, index) => {
    if (!(bound > previous)) {
      throw new WeirError("WEIR_E_CONFIG", `phase bounds must grow from above 0, got ${bounds.join(", ")}`);
    }
    if (found === null && length > previous && length <= bound) found = index + 1;
    previous = bound;
  });
  return found;
}

/** Phases with explicit lower bounds from a config's upper bounds and step counts. */
export function phasesFrom(phases: readonly { readonly maxTokens: number; readonly steps: number }[]): Phase[] {
  phaseOf(
    0,
    phases.map((phase) => phase.maxTokens),
  );
  return phases.map((phase, index) => ({
    k: index + 1,
    minTokens: index === 0 ? 0 : (phases[index - 1] as { maxTokens: number }).maxTokens,
    maxTokens: phase.maxTokens,
    steps: phase.steps,
  }));
}
