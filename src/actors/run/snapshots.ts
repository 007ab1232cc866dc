import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import type { ModelInfo } from "../../contracts/model-info.js";
import type { Json } from "../../contracts/task.js";
import type { Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { type LedgerMark, stepName } from "../../store/index.js";
import { addSeconds, type Progress, type SnapshotMark, stepsDone } from "./progress.js";
import type { RunContext } from "./run-context.js";

/**
 * Snapshots of a run between two steps, which a rollback goes back to. Invariants: which steps have one follows from the
 * configuration and the model alone, so that a run that was killed has the same again (I3); no snapshot is removed that the newest
 * checkpoint names.
 */

/** Folder with weights and moments inside a checkpoint or a snapshot, and of the exported model inside a run. */
export const MODEL_FOLDER = "model";

/** Weights and moments up to this size are saved each step; `time/snapshot_seconds` of 10 MB was 0.04 s before steps of 0.9 s. */
const SMALL_BYTES = 16 * 2 ** 20;
/** Larger ones are saved so rarely that it takes about this share of the time of training. */
const SHARE_OF_TIME = 0.03;
/**
 * What decides how rarely: bytes that a snapshot in memory saves in a second, and floating-point operations of a training step in a
 * second, as on two cores (`weir bench guard-cost`: 203 MB in 0.33 s before steps of 1.9 s).
 */
const BYTES_PER_SECOND = 6e8;
const OPERATIONS_PER_SECOND = 3.5e11;
/** Seconds that a server takes for a state whatever its size: SkyRL 0.4 took 0.6 to 1.0 for an adapter of 29 MB. */
const SERVER_SECONDS = 1;
/** Of a parameter and a token: two forward, four backward. */
const OPERATIONS = 6;
const BYTES_PER_NUMBER = 4;
/** Adam's. */
const MOMENTS = 2;

/** What the state of a snapshot has besides that of a checkpoint. */
export interface SnapshotPlace {
  /** Where the ledger stood. */
  readonly ledger: LedgerMark;
}

/** Bytes of a folder that holds an address: a small file. */
const ADDRESS_BYTES = 4096;

type Saver = Pick<Trainer, "model" | "capabilities">;

/** The trainer keeps saved states elsewhere, and folders hold their addresses. */
export function keepsStates({ capabilities }: Saver): boolean {
  return capabilities.savesState === "address";
}

/** Expected bytes of a saved state in its folder. */
export function stateBytes(trainer: Saver): number {
  return keepsStates(trainer) ? ADDRESS_BYTES : savedBytes(trainer);
}

/** Expected bytes of weights and moments, wherever they are saved: a trainer that keeps adapters elsewhere saves no weights but theirs. */
function savedBytes(trainer: Saver): number {
  const { parameters, trainedParameters } = trainer.model;
  const adapters = keepsStates(trainer) && trainer.capabilities.trains === "adapter";
  return BYTES_PER_NUMBER * ((adapters ? trainedParameters : parameters) + MOMENTS * trainedParameters);
}

/** Steps between two snapshots. */
export function snapshotInterval(config: Config, trainer: Saver): number {
  const bytes = savedBytes(trainer);
  const small = bytes <= SMALL_BYTES;
  const seconds = bytes / BYTES_PER_SECOND + (keepsStates(trainer) ? SERVER_SECONDS : 0);
  return config.guard.snapshots.everySteps ?? (small ? 1 : spacing(seconds, config, trainer.model));
}

function spacing(seconds: number, { rollout, phases }: Config, { parameters }: ModelInfo): number {
  const { promptsPerStep, groupSize, maxTokens } = rollout;
  const tokens = promptsPerStep * ((phases.at(-1)?.maxTokens ?? 0) + groupSize * maxTokens);
  const stepSeconds = (OPERATIONS * parameters * tokens) / OPERATIONS_PER_SECOND;
  return Math.max(1, Math.ceil(seconds / (SHARE_OF_TIME * stepSeconds)));
}

/**
 * Most bytes that snapshots take in a file system in memory: those of the run, others that its newest checkpoint names, and one that
 * is being written. 0 where they lie on the disk.
 */
export function snapshotRoom({ guard }: Config, trainer: Saver): number {
  const { place, keep } = guard.snapshots;
  return place === "memory" ? (2 * keep + 1) * stateBytes(trainer) : 0;
}

/** Whether the step that comes next has to be preceded by a snapshot; the first one of a stage is. */
export function snapshotDue(progress: Progress, stage: SnapshotMark["stage"], interval: number): boolean {
  const newest = progress.snapshots.at(-1);
  return newest?.stage !== stage || stepsDone(progress) - stepsDone(newest) >= interval;
}

/**
 * Takes a snapshot before a step of `stage` where one is due; resolves to the seconds that it took, null where none was taken. `state`
 * is the run's state as a checkpoint has it. Errors: those of the trainer; WEIR_E_DISK where there is no other snapshot to go back to.
 */
export async function takeSnapshot(
  context: RunContext,
  stage: SnapshotMark["stage"],
  state: () => Json,
  signal: AbortSignal,
): Promise<number | null> {
  const { config, progress, store, parts, log } = context;
  const { trainer } = parts;
  if (!snapshotDue(progress, stage, snapshotInterval(config, trainer))) return null;
  const started = context.time.now();
  const count = progress.snapshotCount + 1;
  const { warmupStep, step } = progress;
  const mark: SnapshotMark = { name: `${stepName(stepsDone(progress))}-${count}`, stage, warmupStep, step };
  const place: SnapshotPlace = { ledger: store.ledgerPlace() };
  try {
    await store.snapshot(
      mark.name,
      (folder) => saveInto(trainer, folder, signal),
      { ...(state() as object), ...place } as unknown as Json,
      stateBytes(trainer),
    );
  } catch (error) {
    const full = WeirError.isInstance(error) && error.code === "WEIR_E_DISK";
    if (!full || progress.snapshots.length === 0) throw error;
    log.warn({ actor: "checkpoint", step, err: error }, "no snapshot could be written; a rollback goes back further");
    return null;
  }
  const snapshots = [...progress.snapshots, mark].slice(-config.guard.snapshots.keep);
  const seconds = (context.time.now() - started) / 1000;
  context.progress = addSeconds({ ...context.progress, snapshots, snapshotCount: count }, "snapshot", seconds);
  await pruneSnapshots(context);
  return seconds;
}

function saveInto(trainer: Trainer, folder: string, signal: AbortSignal): Promise<void> {
  return trainer.saveState(join(folder, MODEL_FOLDER), { signal });
}

/** Removes snapshots that neither the run nor its newest checkpoint names. */
async function pruneSnapshots({ progress, pinnedSnapshots, store }: RunContext): Promise<void> {
  await store.keepSnapshots(new Set([...progress.snapshots.map(({ name }) => name), ...pinnedSnapshots]));
}

/** A checkpoint with the present progress has been written. */
export async function checkpointNames(context: RunContext): Promise<void> {
  context.pinnedSnapshots = context.progress.snapshots.map(({ name }) => name);
  await pruneSnapshots(context);
}

/** The run goes on from a checkpoint: snapshots that it does not name are removed, and those that are gone are forgotten. */
export async function adoptSnapshots(context: RunContext): Promise<void> {
  const { store, progress, log } = context;
  const found: SnapshotMark[] = [];
  for (const mark of progress.snapshots) {
    if ((await store.readSnapshot(mark.name)) !== null) found.push(mark);
    else
      log.warn(
        { actor: "checkpoint", step: mark.step },
        `the snapshot of step ${mark.step} is gone; a rollback cannot go back to it`,
      );
  }
  context.progress = { ...progress, snapshots: found };
  context.pinnedSnapshots = found.map(({ name }) => name);
  await pruneSnapshots(context);
}
