/** `weir export`: writes the model of a run or checkpoint as a plain Hugging Face model folder. */
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Command } from "commander";
import { MODEL_FOLDER } from "../../actors/run/snapshots.js";
import { WeirError } from "../../errors.js";
import { copyAdapter } from "../../model/io/adapter-folder.js";
import { readModelConfig } from "../../model/io/config.js";
import { isMissing } from "../../model/io/json.js";
import { writeModelFolder } from "../../model/io/model-folder.js";
import { publishFolder } from "../../model/io/publish-folder.js";
import { readTensors, WEIGHTS_FILE } from "../../model/io/tensors.js";
import { latestCheckpoint, loadCheckpoint } from "../../store/checkpoint-store.js";
import { JOURNAL_NAME } from "../../store/journal.js";
import { MANIFEST_NAME } from "../../store/manifest.js";
import { CHECKPOINTS_FOLDER } from "../../store/run-folder.js";
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

/** The model inside a checkpoint or run, which keeps it in a folder of its own; a model folder is its own model. */
async function modelInside(directory: string): Promise<string> {
  const inner = join(directory, MODEL_FOLDER);
  return (await isPresent(join(inner, "config.json"))) ? inner : directory;
}

/** Time of a file's last change, ms; minus infinity when it does not exist. */
async function writtenAt(path: string): Promise<number> {
  return (await isPresent(path)) ? (await stat(path)).mtimeMs : Number.NEGATIVE_INFINITY;
}

/** The final model of a finished run, or its newest whole checkpoint where that is newer; null without either. */
async function newestModelOf(run: string, say: (text: string) => void): Promise<string | null> {
  const { checkpoint, passedOver } = await latestCheckpoint(join(run, CHECKPOINTS_FOLDER));
  for (const { name, reason } of passedOver) say(`skipping ${name}: ${reason}`);
  const finished = await writtenAt(join(run, MODEL_FOLDER, WEIGHTS_FILE));
  if (checkpoint !== null && (await writtenAt(join(checkpoint.directory, MANIFEST_NAME))) > finished)
    return modelInside(checkpoint.directory);
  return finished > Number.NEGATIVE_INFINITY ? join(run, MODEL_FOLDER) : null;
}

/**
 * The model folder that a path stands for. A run: its final model, or the newest whole checkpoint where that is newer;
 * skipped checkpoints are reported to `say`. A checkpoint: its model, after a check against its manifest. Else itself.
 * Throws WEIR_E_FILE_MISSING, WEIR_E_CHECKPOINT_DAMAGED.
 */
export async function resolveModelFolder(path: string, say: (text: string) => void): Promise<string> {
  if (await isPresent(join(path, JOURNAL_NAME))) {
    const newest = await newestModelOf(path, say);
    if (newest !== null) return newest;
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `${path} is a run without a checkpoint. Let it train to its first one, or ask for one from the monitor.`,
      { path },
    );
  }
  if (await isPresent(join(path, MANIFEST_NAME))) {
    await loadCheckpoint({ name: basename(path), directory: path, step: 0 });
    return modelInside(path);
  }
  if (await isPresent(join(path, "config.json"))) return path;
  throw new WeirError(
    "WEIR_E_FILE_MISSING",
    `${path} is not a model folder (config.json), a checkpoint or a run; give one of these.`,
    { path },
  );
}

/** Writes the model of `source` to `directory` and prints a summary. */
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
    await publishFolder(directory, async (folder) => {
      await writeModelFolder(folder, { sourceDir, tensors: weights, dtype });
      await copyAdapter(sourceDir, folder);
    });
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
    .description("write the model of a run or checkpoint as a Hugging Face model folder")
    .argument("<run-or-checkpoint>", "run folder, checkpoint or model folder")
    .argument("<dir>", "new or empty folder")
    .option("--dtype <type>", "type of the written weights: f32, bf16 or f16", "f32")
    .option("--json", "print the result as JSON")
    .addHelpText("after", "\nExit codes: 0 done, 1 failed, 2 wrong usage or missing folder, 3 damaged checkpoint.")
    .action(async (source: string, directory: string, options: ExportCommandOptions) => {
      process.exitCode = await exportCommand(source, directory, options);
    });
}
