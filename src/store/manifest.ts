/** What a published folder must hold: size and SHA-256 of each file. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { listFolder, sha256File, syncPath } from "./durable.js";

export const MANIFEST_NAME = "manifest.json";

const manifestSchema = z.object({
  schema_version: z.literal(1),
  step: z.number().int().nonnegative(),
  /** Wall clock, ms. */
  time: z.number(),
  tags: z.array(z.string()),
  /** Of a checkpoint: which one of the run it is, from 1. Folders of earlier builds have none. */
  order: z.number().int().positive().exactOptional(),
  files: z.record(z.string(), z.object({ bytes: z.number().int().nonnegative(), sha256: z.string() })),
});

export type Manifest = z.output<typeof manifestSchema>;

/** Hashes every file of a folder and forces files and folders to the disk. */
export async function sealFolder(folder: string): Promise<Manifest["files"]> {
  const { files, folders } = await listFolder(folder);
  const sealed: Manifest["files"] = {};
  for (const file of files) {
    const path = join(folder, file);
    await syncPath(path);
    sealed[file] = { bytes: (await stat(path)).size, sha256: await sha256File(path) };
  }
  for (const path of folders) await syncPath(join(folder, path));
  return sealed;
}

/** The first difference between a folder and its manifest; null when there is none. Files that the manifest does not name are ignored. */
export async function differenceFrom(manifest: Manifest, folder: string): Promise<string | null> {
  // Sizes first: they find a cut file without reading gigabytes.
  for (const [file, { bytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(folder, file)).catch(() => null);
    if (found === null) return `${file} is missing`;
    if (found.size !== bytes) return `${file} has ${found.size} bytes, ${bytes} were written`;
  }
  for (const [file, { sha256 }] of Object.entries(manifest.files)) {
    if ((await sha256File(join(folder, file))) !== sha256) return `${file} does not have the content that was written`;
  }
  return null;
}

/** The manifest of a published folder. Rejects where there is none that can be read. */
export async function readManifest(directory: string): Promise<Manifest> {
  return manifestSchema.parse(JSON.parse(await readFile(join(directory, MANIFEST_NAME), "utf8")));
}
