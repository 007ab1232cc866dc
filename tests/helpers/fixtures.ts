/** Where fixtures lie, and throw-away folders. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Folder of stored reference results; WEIR_FIXTURES points elsewhere. */
export const FIXTURES = process.env.WEIR_FIXTURES ?? join(import.meta.dirname, "..", "fixtures");

/** Fixtures that belong to this repository and are not replaced by WEIR_FIXTURES. */
export const OWN_FIXTURES = join(import.meta.dirname, "..", "fixtures");

/** A new folder that is removed when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "weir-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
