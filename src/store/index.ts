/** The run folder and its parts. */
export {
  type CheckpointEntry,
  CheckpointStore,
  latestCheckpoint,
  listCheckpoints,
  loadCheckpoint,
} from "./checkpoint-store.js";
export { Journal, type JournalMark, readFacts } from "./journal.js";
export { Ledger, type LedgerMark, readLedger } from "./ledger.js";
export { LedgerBook } from "./ledger-book.js";
export { type LockHolder, lockHolder } from "./lock.js";
export { readRollouts, rolloutSteps, writeRollouts } from "./rollout-shard.js";
export { type NewRun, RunFolder, type RunFolderOptions, type RunRecord, readRunRecord } from "./run-folder.js";
export { type RunSummary, summariseFacts, summariseRun } from "./run-summary.js";
export { TensorBoardWriter } from "./tensorboard.js";
