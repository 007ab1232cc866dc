/**
 * Decides how many groups may be issued now. Pure, so that every case can be tested; the pipeline asks again whenever a number changes.
 *
 * The groups that are issued and not yet trained stand in line, and each update takes `perStep` of them and makes one version. A group
 * behind `ahead` others is trained by the update number ⌊ahead / perStep⌋ from the next one on, so that its lag will be
 *
 *   nextVersion + ⌊ahead / perStep⌋ − samplerVersion,
 *
 * which has to be at most `maxLag` (the bound of AReaL, arXiv 2505.24298 §5.1, for one group more). Groups that are dropped on the way
 * only move those behind them forward. A publication that comes late, or a sampler that lags behind, lowers the room at once; what
 * became stale in spite of that is found again when a batch is made.
 */

export interface AdmissionState {
  /** Groups that an update takes. */
  readonly perStep: number;
  readonly maxLag: number;
  /** Version of the weights that the next batch to be made will be trained on. */
  readonly nextVersion: number;
  /** Version that the sampler draws from. */
  readonly samplerVersion: number;
  /** Groups issued whose fate is open: sampled, scored, or on the way to the filter. */
  readonly inFlight: number;
  /** Groups that passed the filter and wait for an update. */
  readonly ready: number;
  /** RL steps whose batch has not been made yet, up to the end of the phase. */
  readonly stepsLeft: number;
  /** An RL step waits for its batch. */
  readonly stepWaits: boolean;
  /** Groups drawn for each one that is missing (`dynamicSampling.oversample`). */
  readonly oversample: number;
}

/** Groups that may be issued; 0 where none may. */
export function admissible(state: AdmissionState): number {
  const { perStep, maxLag, nextVersion, samplerVersion, inFlight, ready, oversample } = state;
  // A step that waits always may have its batch, also where a curriculum stays in a phase for longer than planned.
  const steps = Math.max(state.stepsLeft, state.stepWaits ? 1 : 0);
  if (maxLag === 0) {
    // Rounds: what is missing is known only once the round before has been filtered.
    if (!state.stepWaits || samplerVersion !== nextVersion || inFlight > 0) return 0;
    return Math.max(0, Math.ceil((perStep - ready) * oversample));
  }
  const updates = Math.min(maxLag + samplerVersion - nextVersion + 1, steps);
  // Of `oversample` groups in flight one is expected to be trained on.
  return Math.max(0, Math.ceil((updates * perStep - ready) * oversample) - inFlight);
}
