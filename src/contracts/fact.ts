import type { Json } from "./task.js";

/**
 * What machines and the journal see: an append-only record of things that happened.
 * The journal's line and the monitor's message share this envelope.
 */
export interface Fact {
  readonly schema_version: 1;
  /** 1, 2, 3 … without gaps within a run, also over resumes. */
  readonly seq: number;
  /** Dotted name: run.started, step.committed, phase.advanced, alert.raised, checkpoint.written … */
  readonly type: string;
  readonly step: number;
  /** Wall clock, ms since 1970; the only field (besides names ending in Seconds/PerSecond) left out of I11's comparison. */
  readonly time: number;
  readonly data: Readonly<Record<string, Json>>;
}
