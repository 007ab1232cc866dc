/** A file that parts were loaded from. */
export interface PartsFile {
  readonly file: string;
  readonly sha256: string;
}

/** Which part is in use: its own kind or registered name, whether weir brought it, and the file that it came from. */
export interface PartOrigin {
  readonly kind: string;
  readonly source: "built-in" | "own";
  readonly file?: PartsFile;
}
