/** `weir replay`: computes loss and gradient norm of a mini-batch that a run saved, at the weights that it had then. */
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { parseConfig } from "../../config/load.js";
import type { Engine } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { readRunRecord, readSavedBatch, type SavedBatch } from "../../store/index.js";
import { finite } from "../../streams/telemetry/finding.js";
import { type ExitCode, print, printJson } from "../output.js";
import { backendNamed, withEngineOptions } from "../with-engine.js";

/** Largest relative difference that counts as the same: sums of float32 in another order, such as with other threads. */
const SAME = 1e-5;

interface ReplayOptions {
  readonly backend?: string;
  readonly json?: boolean;
}

/** Null where it was not finite, or was not told. */
interface Numbers {
  readonly loss: number | null;
  readonly gradNorm: number | null;
}

/**
 * Prints what was recorded and what comes out now; 1 where they differ.
 * Errors: WEIR_E_FILE_MISSING, WEIR_E_RUN_FOLDER; WEIR_E_USAGE for a batch without its weights, or with a loss of the user's own; those
 * of the engine.
 */
export async function replayCommand(directory: string, options: ReplayOptions = {}): Promise<ExitCode> {
  const folder = resolve(directory);
  const { saved, state } = await readSavedBatch(folder);
  const weights = replayable(folder, saved, state);
  // runs/ID/batches/step-00007-1
  const { config: written } = await readRunRecord(dirname(dirname(folder)));
  const config = parseConfig(written);
  const { model, engine, run } = config;
  const now = await withEngineOptions(
    {
      modelDir: model.path,
      options: {
        ...engine,
        ...(options.backend === undefined ? {} : { backend: backendNamed(options.backend) }),
        lora: model.lora && { ...model.lora, seed: run.seed },
      },
    },
    (started, signal) => compute(started, saved, weights, signal),
  );
  const then = { loss: saved.loss, gradNorm: saved.gradNorm };
  const same = isSame(then.loss, now.loss) && isSame(then.gradNorm, now.gradNorm);
  if (options.json) printJson({ ...placeOf(saved), recorded: then, replayed: now, same });
  else tell(saved, then, now, same);
  return same ? 0 : 1;
}

const placeOf = ({ step, phase, policyVersion, miniBatch, cause, reason }: SavedBatch) => ({
  ...{ step, phase, policyVersion, miniBatch, cause, reason },
});

/** The folder with the weights of the batch. Errors: WEIR_E_USAGE where it cannot be replayed. */
function replayable(folder: string, { batch }: SavedBatch, state: string | null): string {
  if (batch.loss.name === null)
    throw new WeirError(
      "WEIR_E_USAGE",
      `${folder}: the batch was trained with a loss of your own, which is not saved`,
      {},
    );
  if (state !== null) return state;
  throw new WeirError(
    "WEIR_E_USAGE",
    `${folder}: the batch was saved without its weights, since guard.replayGiB was used up; raise it in the next run`,
    { folder },
  );
}

async function compute(
  { trainer }: Engine,
  { batch }: SavedBatch,
  state: string,
  signal: AbortSignal,
): Promise<Numbers> {
  const version = await trainer.loadState(state, { signal });
  try {
    const { loss } = await trainer.forwardBackward(
      { ...batch, oldPolicy: batch.oldPolicy === null ? null : version },
      { signal },
    );
    return { loss: finite(loss), gradNorm: finite(await trainer.gradientNorm({ signal })) };
  } catch (error) {
    if (WeirError.isInstance(error) && error.code === "WEIR_E_NON_FINITE") return { loss: null, gradNorm: null };
    throw error;
  }
}

function isSame(then: number | null, now: number | null): boolean {
  if (then === null || now === null) return then === now;
  return Math.abs(then - now) <= SAME * Math.max(Math.abs(then), Math.abs(now), SAME);
}

function tell(saved: SavedBatch, then: Numbers, now: Numbers, same: boolean): void {
  const { step, miniBatch, reason, groups } = saved;
  const rollouts = groups.reduce((sum, group) => sum + group.rollouts.length, 0);
  const shown = (value: number | null) => (value === null ? "not finite" : String(value));
  print(`step ${step}, mini-batch ${miniBatch}: ${groups.length} groups, ${rollouts} responses; ${reason}`);
  print(`loss           recorded ${shown(then.loss)}, now ${shown(now.loss)}`);
  print(`gradient norm  recorded ${shown(then.gradNorm)}, now ${shown(now.gradNorm)}`);
  print(same ? "the same" : "not the same: look for another model folder, engine or precision");
}

export function register(program: Command): void {
  program
    .command("replay")
    .description("compute loss and gradient norm of a mini-batch that a run skipped and saved")
    .argument("<batch>", "folder of the batch, such as runs/ID/batches/step-00007-1")
    .option("--backend <name>", "numerics backend; the run's own unless given")
    .option("--json", "print JSON")
    .action(async (batch: string, options: ReplayOptions) => {
      process.exitCode = await replayCommand(batch, options);
    });
}
