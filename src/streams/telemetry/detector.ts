/**
 * The alarms of a run: spikes and stalls of each RL step, through one gate. State of all three is one snapshot, so that a
 * resumed run raises what an unbroken one would (I3).
 */
import type { Alert } from "../../contracts/alert.js";
import type { Json } from "../../contracts/task.js";
import { type AlertGateState, createAlertGate } from "./alert-gate.js";
import { createSpikeDetector, type SpikeObservation, type SpikeOptions } from "./spike-detector.js";
import { createStallDetector, type StallObservation, type StallOptions, type StallState } from "./stall-detector.js";

export interface DetectorOptions {
  readonly spikes: SpikeOptions;
  readonly guard: StallOptions & {
    /** RL steps after which an alert whose cause persists is raised again; doubles each time. */
    readonly repeatSteps: number;
  };
}

export interface Detector {
  /** The alerts that an RL step raises. */
  observe(observation: SpikeObservation & StallObservation): Alert[];
  snapshot(): Json;
  /** Takes snapshots of version 1 too: those of the spikes alone, from checkpoints without stalls and gate. */
  restore(snapshot: Json): void;
}

interface Snapshot {
  readonly version: 2;
  readonly spikes: Json;
  readonly stall: StallState;
  readonly gate: AlertGateState;
}

export function createDetector(options: DetectorOptions): Detector {
  const spikes = createSpikeDetector(options.spikes);
  const stall = createStallDetector(options.guard);
  const gate = createAlertGate(options.guard.repeatSteps);
  const fresh = { stall: stall.snapshot(), gate: gate.snapshot() };
  return {
    observe(observation) {
      const found = [...spikes.observe(observation), ...stall.observe(observation)];
      return gate.admit(found, observation.step);
    },
    snapshot: () => {
      const snapshot: Snapshot = {
        version: 2,
        spikes: spikes.snapshot(),
        stall: stall.snapshot(),
        gate: gate.snapshot(),
      };
      return structuredClone(snapshot) as unknown as Json;
    },
    restore(snapshot) {
      const whole = (snapshot as { version?: unknown } | null)?.version === 2;
      const given = whole ? (snapshot as unknown as Snapshot) : { spikes: snapshot, ...fresh };
      spikes.restore(given.spikes);
      stall.restore(given.stall);
      gate.restore(given.gate);
    },
  };
}
