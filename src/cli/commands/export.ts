/** `weir export`: a checkpoint, or the newest one of a run, becomes a clean Hugging Face model folder. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { WeirError } from "../../errors.js";
import { readModelConfig } from "../../model/io/config.js";
import { isMissing } from "../../model/io/json.js";
import { writeModelFolder } from "../../model/io/model-folder.js";
import { publishFolder } from "../../model/io/publish-folder.js";
import { readTensors } from "../../model/io/tensors.js";
import { type ExitCode, note, print, printJson, progress } from "../output.js";
import { parseDtype } from "./import.js";

export interface ExportCommandOptions {
  readonly dtype: string;
  readonly json?: boolean;
}

async function isPresent(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
}

/** Checkpoint folders of a run, newest first. */
async function checkpointsOf(run: string): Promise<readonly string[]> {
  const folder = join(run, "checkpoints");
  const names = await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  return names
    .map((name) => ({ name, step: /^step-(\d+)$/.exec(name)?.[1] }))
    .filter((entry) => entry.step !== undefined)
    .sort((a, b) => Number(b.step) - Number(a.step))
    .map(({ name }) => join(folder, name));
}

/**
 * The model folder that a path stands for: the newest checkpoint that can be read when it is a run folder, else the
 * folder itself. Checkpoints passed over are told to `say`. Throws WEIR_E_FILE_MISSING, WEIR_E_CHECKPOINT_DAMAGED.
 */
export async function resolveModelFolder(path: string, say: (text: string) => void): Promise<string> {
  const candidates = await checkpointsOf(path);
  for (const candidate of candidates) {
    try {
      await readTensors(candidate);
      return candidate;
    } catch (error) {
      if (!WeirError.isInstance(error)) throw error;
      say(`passing over ${candidate}: ${error.message}`);
    }
  }
  if (candidates.length > 0)
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `None of the ${candidates.length} checkpoints of ${path} can be read. Train anew, or restore the folder.`,
      { path },
    );
  const isRun = await isPresent(join(path, "journal.ndjson"));
  if (!isRun && (await isPresent(join(path, "config.json")))) return path;
  throw new WeirError(
    "WEIR_E_FILE_MISSING",
    isRun
      ? `${path} is a run without a checkpoint. Let it train to its first one, or ask for one from the monitor.`
      : `${path} is neither a model folder (config.json) nor a run with checkpoints. Give a run folder or a checkpoint.`,
    { path },
  );
}

/** Writes the model behind `source` to `directory` and prints what was made. */
export async function exportCommand(
  source: string,
  directory: string,
  options: ExportCommandOptions,
): Promise<ExitCode> {
  const dtype = parseDtype(options.dtype);
  const line = progress();
  let sourceDir: string;
  let tensors: number;
  try {
    sourceDir = await resolveModelFolder(source, note);
    line.update(`exporting ${sourceDir}`);
    const weights = await readTensors(sourceDir);
    tensors = weights.names().length;
    await publishFolder(directory, (folder) => writeModelFolder(folder, { sourceDir, tensors: weights, dtype }));
  } finally {
    line.done();
  }
  const { family } = await readModelConfig(directory);
  if (options.json) printJson({ source: sourceDir, directory, family, tensors, dtype });
  else print(`${directory}: ${family}, ${tensors} tensors of ${sourceDir} written as ${dtype}`);
  return 0;
}

export function register(program: Command): void {
  program
    .command("export")
    .description("write a checkpoint, or the newest one of a run, as a Hugging Face model folder")
    .argument("<run-or-checkpoint>", "run folder, checkpoint or model folder")
    .argument("<dir>", "new or empty folder")
    .option("--dtype <type>", "type of the written weights: f32, bf16 or f16", "f32")
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 wrong call or missing folder, 3 no checkpoint can be read.",
    )
    .action(async (source: string, directory: string, options: ExportCommandOptions) => {
      process.exitCode = await exportCommand(source, directory, options);
    });
}
