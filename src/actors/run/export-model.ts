import { rm } from "node:fs/promises";
import { copyAdapter } from "../../model/io/adapter-folder.js";
import { writeModelFolder } from "../../model/io/model-folder.js";
import { readTensors } from "../../model/io/tensors.js";
import type { RunContext } from "./run-context.js";

/** Writes the current policy as a Hugging Face folder in the configured storage type. */
export async function writeExport(context: RunContext, directory: string, signal: AbortSignal): Promise<void> {
  const { saveDtype } = context.config.model;
  const engine = context.supervisor.engine();
  if (saveDtype === "float32") {
    await engine.save(directory, { signal, optimiser: false });
    return;
  }
  const full = `${directory}.float32`;
  await engine.save(full, { signal, optimiser: false });
  await writeModelFolder(directory, { sourceDir: full, tensors: await readTensors(full), dtype: saveDtype });
  await copyAdapter(full, directory);
  await rm(full, { recursive: true, force: true });
}
