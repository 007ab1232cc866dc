// A guard: skips a gradient whose norm is ten times the median of those before it, and goes back to a snapshot
// when three in a row were skipped.
import type { Guard, Json, PartDefinitions } from "weir-rl";

const FACTOR = 10;
const HISTORY = 20;
const ENOUGH = 5;
const IN_A_ROW = 3;

export function createNormGuard(): Guard {
  let state: { norms: readonly number[]; skipped: number } = { norms: [], skipped: 0 };
  return {
    kind: "norm",
    specificationVersion: 1,
    judge({ nonFinite, gradNorm }) {
      const sorted = [...state.norms].sort((a, b) => a - b);
      const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
      const high = gradNorm !== null && sorted.length >= ENOUGH && gradNorm > FACTOR * median;
      if (nonFinite.length === 0 && !high) {
        state = { norms: gradNorm === null ? state.norms : [...state.norms, gradNorm].slice(-HISTORY), skipped: 0 };
        return { action: "commit" };
      }
      state = { ...state, skipped: state.skipped + 1 };
      const reason = high ? `norm ${gradNorm}, median ${median}` : `not finite: ${nonFinite.join(", ")}`;
      return { action: state.skipped < IN_A_ROW ? "skip" : "rollback", reason };
    },
    snapshot: () => state as unknown as Json,
    restore(snapshot) {
      state = snapshot as unknown as typeof state;
    },
  };
}

export const parts: PartDefinitions = { guard: { norm: createNormGuard } };
