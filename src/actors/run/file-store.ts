import { parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import type { Fact } from "../../contracts/fact.js";
import type { Json } from "../../contracts/task.js";
import { type MayRemove, RunFolder } from "../../store/index.js";
import type { Progress } from "./progress.js";
import {
  assertMayChange,
  assertSameSources,
  configChanges,
  type ResumePoint,
  type RunSources,
} from "./resume-check.js";
import type { RunStore } from "./run-store.js";

/** Opens the run folder of a new or a continued run as the store that the run works with. */

export interface OpenedStore extends RunStore {
  /** Facts of the run before it was resumed, read from its journal when they are asked for. */
  pastFacts(): Iterable<Fact>;
  /** Removes the folder of a run that never began; only closes that of a resumed one. */
  abandon(): Promise<void>;
}

/** A run folder that is held for resuming, before it is known whether it may go on. */
export interface HeldRun {
  /** Facts of the run so far, read from its journal when they are asked for. */
  pastFacts(): Iterable<Fact>;
  /**
   * Checks that the run's inputs are unchanged, and rewrites config.json where options changed.
   * Errors: WEIR_E_CONFIG, WEIR_E_DATA, WEIR_E_MODEL_FILES; WEIR_E_CHECKPOINT_DAMAGED where no checkpoint is whole; WEIR_E_DISK.
   */
  accept(sources: RunSources, warmupSteps: number): Promise<OpenedStore>;
  close(): Promise<void>;
}

/** Makes the folder of a new run. Errors: those of RunFolder. */
export async function createFileStore(config: Config, sources: RunSources, mayRemove: MayRemove): Promise<OpenedStore> {
  const folder = await RunFolder.create({
    keep: config.checkpoint.keep,
    snapshots: config.guard.snapshots.place,
    mayRemove,
    root: config.run.directory,
    id: config.run.id,
    seed: config.run.seed,
    config: config as unknown as Json,
    dataset: sources.dataset as unknown as Json,
    model: { ...sources.model },
  });
  return Object.assign(folder, { pastFacts: () => [], abandon: () => folder.discard() });
}

/** Takes the lock of a run folder. Errors: those of RunFolder; WEIR_E_CONFIG for an option that no resumed run may change. */
export async function holdFileStore(given: Config, directory: string, mayRemove: MayRemove): Promise<HeldRun> {
  const folder = await RunFolder.open(directory, {
    keep: given.checkpoint.keep,
    snapshots: given.guard.snapshots.place,
    mayRemove,
  });
  try {
    // Options that came with a later version have their defaults in both.
    const before = parseConfig(folder.record.config);
    // A configuration that names no run means the one that is resumed.
    const config = { ...given, run: { ...given.run, id: given.run.id ?? before.run.id } };
    const changes = configChanges(before, config);
    assertMayChange(changes, before, config, null);
    return {
      pastFacts: () => folder.journal.read(),
      close: () => folder.close(),
      accept: async (sources, warmupSteps) => {
        const { record } = folder;
        assertMayChange(changes, before, config, await resumePoint(folder, warmupSteps));
        assertSameSources(directory, record, sources);
        const next = {
          config: config as unknown as Json,
          dataset: sources.dataset as unknown as Json,
          model: { ...sources.model },
        };
        if (changes.length > 0 || record.model === null) await folder.amend(next, changes);
        return Object.assign(folder, { pastFacts: () => folder.journal.read(), abandon: () => folder.close() });
      },
    };
  } catch (error) {
    await folder.close().catch(() => undefined);
    throw error;
  }
}

async function resumePoint(folder: RunFolder, warmupSteps: number): Promise<ResumePoint | null> {
  const { checkpoint } = await folder.checkpoints.latest();
  if (checkpoint === null) return null;
  const { progress, curriculumMachine } = checkpoint.state as unknown as {
    readonly progress: Progress;
    readonly curriculumMachine: { readonly context?: { readonly phase?: number } };
  };
  return { progress, warmupSteps, phase: curriculumMachine.context?.phase ?? 1 };
}
