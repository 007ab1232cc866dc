/** The public entry point of weir: start, steer and extend training systems. */

export type { ChosenKind, PartKind, Parts } from "./actors/parts/part-kinds.js";
export { type LoadedParts, loadParts, type PartDefinitions } from "./actors/parts/parts-file.js";
export { type Need, type PartFactory, PartRegistry, type PartTools } from "./actors/parts/registry.js";
export type { EngineFactory } from "./actors/run/engine-supervisor.js";
export {
  createTrainingSystem,
  type LifecycleState,
  type OrderOptions,
  type RollBackOptions,
  type RunResult,
  type TrainingActors,
  type TrainingSystem,
  type TrainingSystemOptions,
} from "./actors/run/training-system.js";
export { loadConfig, parseConfig } from "./config/load.js";
export type { PresetName } from "./config/presets.js";
export type { Config, ConfigInput } from "./config/schema.js";
export type * from "./contracts/index.js";
export { ERROR_CODES, type ErrorCode, WeirError } from "./errors.js";
export { type EngineLogger, type StartEngineInput, startEngine } from "./model/engine/host.js";
export type { QueueGauge } from "./streams/bounded-queue.js";
export { createMemoryWorkQueue, type MemoryWorkQueueOptions } from "./streams/work-queue.js";
