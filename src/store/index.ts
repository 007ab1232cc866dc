/** The run folder, for the layers above. */
export { type CheckpointEntry, stepName } from "./checkpoint-store.js";
export type { LedgerMark } from "./ledger.js";
export { type LockHolder, lockHolder } from "./lock.js";
export type { MayRemove } from "./removal.js";
export {
  type RolloutMember,
  readMembers,
  readRollout,
  readRollouts,
  rolloutSteps,
  undoneRollouts,
  writeRollouts,
} from "./rollout-shard.js";
export { assertRoomForRun, type BatchState, type NewRun, RunFolder, type RunFolderOptions } from "./run-folder.js";
export { type ConfigChange, type RunRecord, readRunRecord } from "./run-record.js";
export { type RunSummary, summariseRun } from "./run-summary.js";
export { readSavedBatch, type SavedBatch } from "./saved-batch.js";
