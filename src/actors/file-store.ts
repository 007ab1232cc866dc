import type { Config } from "../config/schema.js";
import type { Fact } from "../contracts/fact.js";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { RunFolder } from "../store/index.js";
import type { RunStore } from "./run-store.js";

/** Opens the run folder of a new or a continued run as the store that the run works with. */

export interface FileStoreOptions {
  readonly config: Config;
  /** Digest of the data set; a resumed run must have the one it began with. */
  readonly fingerprint: string;
  readonly resume?: string;
}

export interface OpenedStore extends RunStore {
  /** What was found out of order and mended on opening. */
  readonly remarks: readonly string[];
  readonly pastFacts: readonly Fact[];
}

/** Errors: those of RunFolder; WEIR_E_DATA when the data set is not the one the run began with. */
export async function openFileStore(options: FileStoreOptions): Promise<OpenedStore> {
  const { config, fingerprint, resume } = options;
  const remarks: string[] = [];
  const folderOptions = { keep: config.checkpoint.keep, say: (notice: string) => void remarks.push(notice) };
  if (resume === undefined) {
    const { directory, id } = config.run;
    const dataset = { fingerprint, files: [...config.data.train, ...config.data.heldout] };
    const folder = await RunFolder.create({
      ...folderOptions,
      root: directory,
      id,
      seed: config.run.seed,
      config: config as unknown as Json,
      dataset,
    });
    return Object.assign(folder, { remarks, pastFacts: [] });
  }
  const folder = await RunFolder.open(resume, folderOptions);
  const known = (folder.record.dataset as { fingerprint?: unknown } | null)?.fingerprint;
  if (known !== fingerprint) {
    await folder.close();
    throw new WeirError(
      "WEIR_E_DATA",
      `the data set is not the one that "${resume}" began with (fingerprint ${fingerprint}, expected ${String(known)}); restore its files or start another run`,
      {
        fingerprint,
        known,
      },
    );
  }
  return Object.assign(folder, { remarks, pastFacts: [...folder.journal.read()] });
}
