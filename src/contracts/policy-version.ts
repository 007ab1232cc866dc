/** Which weights: a counter of publications and the content hash of the parameters. */
export interface PolicyVersion {
  /**
   * Number of publications since the start of the run: 0 is the starting model, each RL step that changed weights adds one.
   * Optimiser steps inside an update (mini-batches, epochs) and those of the warm-up are not published one by one.
   */
  readonly n: number;
  /** Hex SHA-256 over the parameters' bytes in name order (I9). */
  readonly sha256: string;
}

/** A span of generated tokens [start, end) and the weights that produced it (I9). */
export interface PolicySpan {
  readonly version: number;
  readonly sha256: string;
  readonly start: number;
  readonly end: number;
}
