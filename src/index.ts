/** The public door of weir: start, steer and extend training systems. */
export type { EngineFactory } from "./actors/engine-supervisor.js";
export type { PartsFile } from "./actors/part-origins.js";
export { type LoadedParts, loadParts, type PartDefinitions } from "./actors/parts-file.js";
export {
  type Need,
  type PartFactory,
  type PartKind,
  PartRegistry,
  type Parts,
  type PartTools,
} from "./actors/registry.js";
export {
  createTrainingSystem,
  type LifecycleState,
  type RunResult,
  type TrainingActors,
  type TrainingSystem,
  type TrainingSystemOptions,
} from "./actors/training-system.js";
export { loadConfig, parseConfig } from "./config/load.js";
export type { PresetName } from "./config/presets.js";
export type { Config, ConfigInput } from "./config/schema.js";
export type * from "./contracts/index.js";
export { ERROR_CODES, type ErrorCode, WeirError } from "./errors.js";
export { type EngineLogger, type StartEngineInput, startEngine } from "./model/engine/host.js";
export type { QueueGauge } from "./streams/bounded-queue.js";
