import type { Trace } from "../../src/contracts/trace.js";

/**
 * Secrets of a run (keys, tokens) that must not be shown, whatever their origin: a judge's server may echo the request that
 * it refuses. Short texts are not masked, or ordinary words would be.
 */

/** Shorter values are not masked. */
const SHORTEST = 6;
const MASK = "•••";

export class Secrets {
  private values: readonly string[] = [];

  /** Adds values to hide; empty and very short ones are left out. */
  add(...values: readonly (string | null)[]): void {
    const given = values.flatMap((value) => (value === null ? [] : [value, encodeURIComponent(value)]));
    const all = new Set([...this.values, ...given.filter((value) => value.length >= SHORTEST)]);
    // Longer ones first: one may contain another.
    this.values = [...all].sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    return this.values.reduce((masked, value) => masked.replaceAll(value, MASK), text);
  }

  /** The trace with its outcome masked: reason and prediction may quote a judge; nothing else of it knows a secret. */
  trace(trace: Trace): Trace {
    if (this.values.length === 0) return trace;
    const { outcome } = trace;
    if (outcome.kind !== "scored") return { ...trace, outcome: { ...outcome, reason: this.text(outcome.reason) } };
    const prediction = outcome.prediction === null ? null : this.text(outcome.prediction);
    return prediction === outcome.prediction ? trace : { ...trace, outcome: { ...outcome, prediction } };
  }
}
