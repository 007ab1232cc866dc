import { rm } from "node:fs/promises";
import { copyAdapter } from "../../model/io/adapter-folder.js";
import { writeModelFolder } from "../../model/io/model-folder.js";
import { readTensors } from "../../model/io/tensors.js";
import type { RunContext } from "./run-context.js";

/** Writes the present policy as a Hugging Face folder in the configured storage type. */
export async function writeExport(context: RunContext, directory: string, signal: AbortSignal): Promise<void> {
  const { saveDtype } = context.config.model;
  const write = (folder: string) => context.parts.trainer.publish({ signal, as: "checkpoint", folder });
  if (saveDtype === "float32") {
    await write(directory);
    return;
  }
  const full = `${directory}.float32`;
  await write(full);
  await writeModelFolder(directory, { sourceDir: full, tensors: await readTensors(full), dtype: saveDtype });
  await copyAdapter(full, directory);
  await rm(full, { recursive: true, force: true });
}
