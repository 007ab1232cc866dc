import type { KnobState } from "../contracts/knob.js";

/** Share of turns that go to a bound itself, the lower as often as the upper. */
const AT_BOUND = 0.2;
/** Farthest that other turns go from the configured value, as a factor up or down. */
const FACTOR = 4;
/** Most responses to a prompt: the bound of the knob is more than a simulation can hold. */
const MOST_RESPONSES = 8;

/** The value that a knob is turned to, within its bounds, for a number in [0, 1). */
export function turnedValue({ path, min, max, integer, configured }: KnobState, draw: number): number {
  const most = path === "rollout.groupSize" ? Math.min(max, MOST_RESPONSES) : max;
  if (draw < AT_BOUND) return draw < AT_BOUND / 2 ? min : most;
  const share = (draw - AT_BOUND) / (1 - AT_BOUND);
  // A value of 0 has no multiples, and null is the part's own.
  const value = configured ? configured * FACTOR ** (2 * share - 1) : min + share * (most - min);
  const bounded = Math.min(most, Math.max(min, value));
  return integer ? Math.round(bounded) : bounded;
}
