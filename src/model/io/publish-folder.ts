/** Publishes a folder atomically: it is written next to its destination, then renamed. */
import { mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { WeirError } from "../../errors.js";
import { isMissing } from "./json.js";

/** True when there is nothing at the path or an empty folder. Throws WEIR_E_USAGE otherwise. */
async function assertFree(directory: string): Promise<void> {
  let entries: string[];
  try {
    entries = await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return;
    throw new WeirError(
      "WEIR_E_USAGE",
      `${directory} is not a folder. Give a new or empty one.`,
      { directory },
      { cause: error },
    );
  }
  if (entries.length > 0)
    throw new WeirError("WEIR_E_USAGE", `${directory} is not empty. Give a new or empty folder.`, { directory });
}

/**
 * Runs `write` on a temporary folder next to `directory` and moves it there. On failure nothing is left behind.
 * Throws WEIR_E_USAGE when `directory` holds anything.
 */
export async function publishFolder(directory: string, write: (temporary: string) => Promise<void>): Promise<void> {
  await assertFree(directory);
  const target = resolve(directory);
  const temporary = `${target}.partial-${process.pid}`;
  await mkdir(dirname(target), { recursive: true });
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary);
  try {
    await write(temporary);
    await rmdir(target).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}
