/** The public door of weir: start, steer and extend training systems. */
export { type PartFactory, type PartKind, PartRegistry, type Parts } from "./actors/registry.js";
export {
  createTrainingSystem,
  type LifecycleState,
  type RunResult,
  type TrainingActors,
  type TrainingSystem,
  type TrainingSystemOptions,
} from "./actors/training-system.js";
export { loadConfig, parseConfig } from "./config/load.js";
export type { Config, ConfigInput } from "./config/schema.js";
export type * from "./contracts/index.js";
export { ERROR_CODES, type ErrorCode, WeirError } from "./errors.js";
export { startEngine } from "./model/engine/host.js";
