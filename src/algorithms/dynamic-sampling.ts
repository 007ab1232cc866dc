/**
 * Dynamic sampling (DAPO): drop groups of zero variance, draw rounds until enough are kept, at most `maxRounds`.
 * A pure reducer; the exit is typed, so that a caller cannot miss exhaustion. Kept groups stay in order of arrival.
 */
import { WeirError } from "../errors.js";

/** True iff the metric differs within the group (population std > 0). Groups of one or none are never informative. */
export function hasVariance(metric: readonly number[]): boolean {
  return metric.some((value) => value !== metric[0]);
}

/** Rounding errors of share · G that are no further response. */
const ROUNDING = 1e-9;

/**
 * Scored responses that a group of G needs: min(G, max(2, m, ⌈share · G⌉)), with the m that the advantage needs. One scored response
 * has nothing to be compared with; a group of one is complete with it.
 */
export function leastScored(groupSize: number, share: number, advantageMinimum = 1): number {
  return Math.min(groupSize, Math.max(2, advantageMinimum, Math.ceil(share * groupSize - ROUNDING)));
}

/** State after some rounds: kept groups in order of arrival, counts of dropped ones. */
export interface AccumulationState<T> {
  readonly kept: readonly T[];
  readonly rounds: number;
  readonly zeroVariance: number;
}

export interface AccumulationBounds {
  /** Groups that one RL step trains on. */
  readonly groupsPerStep: number;
  /** Generation rounds allowed; 0 sets no bound. */
  readonly maxRounds: number;
}

export type AccumulationExit<T> =
  | { readonly kind: "incomplete"; readonly state: AccumulationState<T>; readonly missing: number }
  /** Enough: the first `groupsPerStep` kept ones; the rest is surplus and is dropped. */
  | {
      readonly kind: "complete";
      readonly state: AccumulationState<T>;
      readonly trained: readonly T[];
      readonly surplus: readonly T[];
    }
  /** The bound was met without enough. */
  | { readonly kind: "exhausted"; readonly state: AccumulationState<T>; readonly missing: number };

export function emptyAccumulation<T>(): AccumulationState<T> {
  return { kept: [], rounds: 0, zeroVariance: 0 };
}

/** Adds one generation round. `metricOf` gives a group's metric per member (accuracy, or shaped reward). */
export function accumulateRound<T>(
  state: AccumulationState<T>,
  round: readonly T[],
  metricOf: (group: T) => readonly number[],
  bounds: AccumulationBounds,
): AccumulationExit<T> {
  const informative = round.filter((group) => hasVariance(metricOf(group)));
  const next: AccumulationState<T> = {
    kept: [...state.kept, ...informative],
    rounds: state.rounds + 1,
    zeroVariance: state.zeroVariance + round.length - informative.length,
  };
  return accumulationExit(next, bounds);
}

/** What follows from the groups that have been kept so far. */
export function accumulationExit<T>(state: AccumulationState<T>, bounds: AccumulationBounds): AccumulationExit<T> {
  const { groupsPerStep, maxRounds } = bounds;
  const missing = groupsPerStep - state.kept.length;
  if (missing <= 0) {
    return {
      kind: "complete",
      state,
      trained: state.kept.slice(0, groupsPerStep),
      surplus: state.kept.slice(groupsPerStep),
    };
  }
  const exhausted = maxRounds > 0 && state.rounds >= maxRounds;
  return { kind: exhausted ? "exhausted" : "incomplete", state, missing };
}

/** The error for runs that are configured to fail at the bound. */
export function exhaustedError<T>(
  exit: Extract<AccumulationExit<T>, { kind: "exhausted" }>,
  bounds: AccumulationBounds,
): WeirError {
  return new WeirError(
    "WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED",
    `expected ${bounds.groupsPerStep} groups that pass the filter within ${bounds.maxRounds} rounds, got ` +
      `${exit.state.kept.length} (${exit.state.zeroVariance} were dropped, those of equal rewards by the default filter); ` +
      "make tasks easier or harder, raise dynamicSampling.maxRounds or set dynamicSampling.onExhausted to proceed",
    { kept: exit.state.kept.length, zeroVariance: exit.state.zeroVariance, rounds: exit.state.rounds },
  );
}
