/** Which weights: a counter of optimiser commits and the content hash of the parameters. */
export interface PolicyVersion {
  /** Number of committed optimiser steps since the start of the run. */
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
