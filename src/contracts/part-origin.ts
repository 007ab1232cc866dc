/** A file that parts were loaded from. */
export interface PartsFile {
  readonly file: string;
  readonly sha256: string;
}

/** Which part is in use: its own kind, whether weir brought it, and the file that it was loaded from, where it was. */
export interface PartOrigin {
  readonly kind: string;
  readonly source: "built-in" | "own";
  readonly file?: PartsFile;
}

/** The parts of a run by kind, and the files they came from. */
export interface PartsRecord {
  readonly advantage: PartOrigin;
  readonly reward: PartOrigin;
  readonly curriculum: PartOrigin;
  /** Absent in runs that began before this kind was a part; the same for those below. */
  readonly loss?: PartOrigin;
  readonly sampler?: PartOrigin;
  readonly trainer?: PartOrigin;
  readonly policyStore?: PartOrigin;
  /** Where groups go to workers. */
  readonly workQueue?: PartOrigin;
  readonly filter?: PartOrigin;
  readonly guard?: PartOrigin;
  /** Where a part asks it. */
  readonly judge?: PartOrigin;
  readonly files: readonly PartsFile[];
}
