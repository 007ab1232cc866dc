import type { Alert } from "../../contracts/alert.js";

/** What a detector says of a step: a rule that is broken, by which metric and how far. */
export interface Finding extends Pick<Alert, "level" | "rule" | "metric" | "value" | "threshold" | "z" | "text"> {
  /** Culprits are the rollouts with the smallest contribution, as in a collapse of entropy; otherwise those with the largest. */
  readonly smallestFirst?: boolean;
  /** The steps before were otherwise: it is a change, and no property of the run. */
  readonly changed?: boolean;
}

/** A number in a sentence: three significant digits. */
export function show(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/** The value where it is there and finite, else null. */
export function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}
