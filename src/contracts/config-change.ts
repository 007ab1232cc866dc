import type { Json } from "./task.js";

/** An option whose value a resumed run has changed. */
export interface ConfigChange {
  /** Such as `optimiser.learningRate`. */
  readonly path: string;
  readonly old: Json;
  readonly new: Json;
}
