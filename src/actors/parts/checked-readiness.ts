/** Owns the check of what a part says of its readiness. Errors: WEIR_E_PART, since a run that cannot know whether to wait cannot go on. */
import type { Readiness, ReadinessState } from "../../contracts/readiness.js";
import { callPart, isFiniteNumber, isRecord, type PartLabel, partError, shown } from "./part-errors.js";

const STATE = "readiness.state() gives { ready: true } or { ready: false, code, reason, forMs } at once";
const LISTENER = "readiness.onChange(listener) gives a function that ends it";

function isState(state: unknown): state is ReadinessState {
  if (!isRecord(state)) return false;
  if (state.ready === true) return true;
  const { ready, code, reason, forMs } = state;
  return ready === false && typeof code === "string" && typeof reason === "string" && isFiniteNumber(forMs);
}

/** The readiness of a part, its answers checked. */
export function checkedReadiness(readiness: Readiness, label: PartLabel): Readiness {
  return {
    state() {
      const state: unknown = callPart(label, "readiness.state()", STATE, () => readiness.state());
      if (!isState(state)) throw partError(label, `said of its readiness ${shown(state)}`, STATE);
      return state;
    },
    onChange(listener) {
      const end: unknown = callPart(label, "readiness.onChange()", LISTENER, () => readiness.onChange(listener));
      if (typeof end !== "function") throw partError(label, `gave ${shown(end)} from readiness.onChange()`, LISTENER);
      return end as () => void;
    },
  };
}
