import type { Json } from "./task.js";

/** An option that a resumed run has otherwise than before. */
export interface ConfigChange {
  /** Such as `optimiser.learningRate`. */
  readonly path: string;
  readonly old: Json;
  readonly new: Json;
}
