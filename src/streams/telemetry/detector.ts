/**
 * The alarms of a run: what the detectors find in each RL step, raised once and followed to its end. Histories, counts and open alarms
 * are one snapshot, so that a resumed run raises what an unbroken one would (I3).
 */
import type { Alert } from "../../contracts/alert.js";
import type { Objection } from "../../contracts/guard.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { type AlarmBookState, type AlarmChanges, bookStep, EMPTY_BOOK } from "./alarm-book.js";
import { type Contribution, culpritsOf } from "./contributions.js";
import { findingsOf, nonFiniteFinding, withStep } from "./detection.js";
import type { DetectionOptions, StepNumbers } from "./detection-options.js";
import { SCALES } from "./detectors/spikes.js";
import type { Finding } from "./finding.js";
import { type Histories, historiesOf, NO_HISTORIES } from "./history.js";
import { isMetricName, type MetricName } from "./metrics.js";
import {
  FRESH_STALL,
  type StallObservation,
  type StallOptions,
  type StallState,
  stallFindings,
} from "./stall-detector.js";

export interface DetectorOptions {
  readonly detection: DetectionOptions;
  readonly stalls: StallOptions;
  /** RL steps after which an alarm whose cause lasts is updated; doubles each time. */
  readonly updateSteps: number;
}

/** An RL step as the detectors see it. */
export interface Observation extends StepNumbers, StallObservation {
  readonly step: number;
  readonly policyVersion: number;
  readonly time: number;
  readonly contributions: readonly Contribution[];
  /** Numbers of its optimiser steps that were not finite, by their names in the evidence. */
  readonly nonFinite: readonly string[];
  /** What the guard objected to. */
  readonly objections: readonly (Objection & { readonly action: "shrink" | "skip" | "rollback" })[];
}

/** A step that was thrown away: it raises alarms, and teaches the detectors nothing. */
export type RejectedStep = Omit<Observation, keyof StallObservation>;

export interface Detector {
  /** Judges a step, then takes it into the history. */
  observe(observation: Observation): AlarmChanges;
  /** Judges a step that was thrown away. */
  reject(step: RejectedStep): AlarmChanges;
  /** Goes back to the histories and counts of a snapshot; what is open stays open, as the journal does. */
  rewind(snapshot: Json): void;
  snapshot(): Json;
  /** Takes snapshots of versions 1 and 2 too, from checkpoints of earlier builds: levels alone, on fewer metrics. */
  restore(snapshot: Json): void;
}

interface State {
  readonly histories: Histories;
  readonly stall: StallState;
  readonly book: AlarmBookState;
}

const VERSION = 3;
const FRESH: State = { histories: NO_HISTORIES, stall: FRESH_STALL, book: EMPTY_BOOK };

export function createDetector({ detection, stalls, updateSteps }: DetectorOptions): Detector {
  let state = FRESH;
  const tell = (step: RejectedStep, found: readonly Finding[]): AlarmChanges => {
    const all = [...found, ...brokenNumbers(step), ...objectionFindings(step)];
    const alerts = firstOfEach(all).map((finding) => alertOf(finding, step));
    const { book, ...changes } = bookStep(state.book, alerts, updateSteps);
    state = { ...state, book };
    return changes;
  };
  return {
    observe(observation) {
      const { found, state: stall } = stallFindings(observation, state.stall, stalls);
      const changes = tell(observation, [...findingsOf(observation, state.histories, detection), ...found]);
      state = { ...state, stall, histories: withStep(state.histories, observation, detection) };
      return changes;
    },
    reject: (step) => tell(step, findingsOf(step, state.histories, detection)),
    rewind(snapshot) {
      const { histories, stall } = readSnapshot(snapshot);
      state = { ...state, histories, stall };
    },
    snapshot: () => structuredClone({ version: VERSION, ...state }) as unknown as Json,
    restore(snapshot) {
      state = readSnapshot(snapshot);
    },
  };
}

/** Numbers of an optimiser step that were not finite are in no metric. */
function brokenNumbers({ nonFinite }: RejectedStep): Finding[] {
  return nonFinite.map((name) => {
    const metric: MetricName = name === "gradNorm" ? "gradient/norm" : "loss/total";
    return { ...nonFiniteFinding(metric, Number.NaN), text: `${name} of an optimiser step is not finite` };
  });
}

/** What the guard objects to is an alarm, also where no detector sees it in the step's own numbers. */
function objectionFindings({ objections }: RejectedStep): Finding[] {
  return objections.flatMap(({ action, reason, rule, metric, value }): Finding[] => {
    if (rule === undefined || metric === undefined || !isMetricName(metric)) return [];
    const level = action === "rollback" ? "error" : "warn";
    const found = { rule, metric, value: value ?? Number.NaN, threshold: 0, z: null };
    return [{ level, ...found, text: `the guard's verdict was ${action}: ${reason}` }];
  });
}

/** One finding per rule and metric: the detector's own, which comes first, knows its limit. */
function firstOfEach(found: readonly Finding[]): Finding[] {
  const seen = new Map<string, Finding>();
  for (const finding of found) {
    const key = `${finding.rule}|${finding.metric}`;
    if (!seen.has(key)) seen.set(key, finding);
  }
  return [...seen.values()];
}

function alertOf(finding: Finding, observation: RejectedStep): Alert {
  const { smallestFirst = false, changed: _, ...rest } = finding;
  const { step, phase, policyVersion, time, contributions } = observation;
  const culprits = culpritsOf(contributions, finding.metric, smallestFirst);
  return { id: `${step}-${finding.rule}-${finding.metric}`, ...rest, step, phase, policyVersion, culprits, time };
}

/** Errors: WEIR_E_CHECKPOINT_DAMAGED. */
function readSnapshot(snapshot: Json): State {
  const raw = snapshot as (Partial<State> & { readonly version?: unknown; readonly spikes?: Json }) | null;
  if (raw?.version === VERSION && raw.histories && raw.stall && raw.book)
    return structuredClone({ histories: raw.histories, stall: raw.stall, book: raw.book });
  if (raw?.version === 2 && raw.spikes !== undefined)
    return { ...readSnapshot(raw.spikes), stall: raw.stall ?? FRESH_STALL };
  const old = raw as { version?: unknown; phase?: unknown; history?: unknown } | null;
  if (old?.version === 1 && typeof old.phase === "number" && Array.isArray(old.history))
    return { ...FRESH, histories: historiesOf(old.phase, old.history as [MetricName, number[]][], SCALES) };
  throw new WeirError(
    "WEIR_E_CHECKPOINT_DAMAGED",
    `expected a snapshot of the detectors (version ${VERSION}), got something else; resume from another checkpoint`,
  );
}
