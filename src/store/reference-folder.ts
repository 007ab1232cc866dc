/**
 * The frozen reference policy of a run: `reference/`, a model folder with a manifest. Invariant: the folder is published
 * whole, in one rename, or not at all; restoring from it checks every file first.
 */
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { WeirError } from "../errors.js";
import { onDiskAsync } from "../system/disk-error.js";
import { PRIVATE_FOLDER, syncPath, writeDurably } from "./durable.js";
import { differenceFrom, MANIFEST_NAME, type Manifest, readManifest, sealFolder } from "./manifest.js";

export const REFERENCE_FOLDER = "reference";
const DRAFT = ".draft-reference";

/** Writes the reference policy of a run folder, replacing an earlier one. Errors: WEIR_E_DISK, and those of `writeInto`. */
export async function writeReference(
  run: string,
  writeInto: (directory: string) => Promise<void>,
  clock: () => number,
): Promise<void> {
  const draft = join(run, DRAFT);
  const final = join(run, REFERENCE_FOLDER);
  await onDiskAsync(final, async () => {
    try {
      await rm(draft, { recursive: true, force: true });
      await mkdir(draft, { mode: PRIVATE_FOLDER });
      await writeInto(draft);
      const manifest: Manifest = {
        schema_version: 1,
        step: 0,
        time: clock(),
        tags: ["reference"],
        files: await sealFolder(draft),
      };
      await writeDurably(join(draft, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
      // An earlier one exists only where training starts over, so nothing depends on it.
      await rm(final, { recursive: true, force: true });
      await rename(draft, final);
      await syncPath(run);
    } catch (error) {
      await rm(draft, { recursive: true, force: true }).catch(() => undefined);
      throw error;
    }
  });
}

/**
 * The checked folder of the reference policy. Folders of earlier versions have no manifest; `say` is called for those.
 * Errors: WEIR_E_RUN_FOLDER where it is missing; WEIR_E_CHECKPOINT_DAMAGED where it differs from its manifest.
 */
export async function checkedReference(run: string, say: (notice: string) => void): Promise<string> {
  const directory = join(run, REFERENCE_FOLDER);
  if (!existsSync(directory)) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `expected the frozen reference policy in "${directory}", which the KL term needs, but there is none; restore the folder from a copy, or start another run`,
      { directory },
    );
  }
  if (!existsSync(join(directory, MANIFEST_NAME))) {
    say(`${REFERENCE_FOLDER}/ has no manifest (an earlier version wrote it), so it was not checked`);
    return directory;
  }
  const difference = await readManifest(directory).then(
    (manifest) => differenceFrom(manifest, directory),
    () => `${MANIFEST_NAME} cannot be read`,
  );
  if (difference === null) return directory;
  throw new WeirError(
    "WEIR_E_CHECKPOINT_DAMAGED",
    `the reference policy in "${directory}" is damaged: ${difference}; restore the folder from a copy, or start another run`,
    { directory, reason: difference },
  );
}
