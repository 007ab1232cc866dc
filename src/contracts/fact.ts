import type { Json } from "./task.js";

/** What can happen in a run, as a dotted name. A new kind of fact is added here; a name that is not here does not compile. */
export type FactType =
  | "alert.raised"
  | "checkpoint.written"
  | "config.changed"
  | "evaluation.finished"
  | "guard.judged"
  | "lifecycle.changed"
  | "metrics.recorded"
  | "part.replaced"
  | "phase.decided"
  | "phase.entered"
  | "preflight.finished"
  | "run.finished"
  | "run.resumed"
  | "run.started"
  | "step.committed"
  | "warmup.finished";

/**
 * What machines and the journal see: an append-only record of things that happened.
 * The journal's line and the monitor's message share this envelope.
 */
export interface Fact {
  readonly schema_version: 1;
  /** 1, 2, 3 … without gaps within a run, also over resumes. */
  readonly seq: number;
  /** A journal that a newer weir wrote may hold other names; readers pass over what they do not know. */
  readonly type: FactType;
  readonly step: number;
  /** Wall clock, ms since 1970; the only field (besides names ending in Seconds/PerSecond) left out of I11's comparison. */
  readonly time: number;
  readonly data: Readonly<Record<string, Json>>;
}
