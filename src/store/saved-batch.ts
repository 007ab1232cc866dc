/**
 * Mini-batches that changed no weight, for `weir replay`: `batches/step-00007-1/batch.json` with what the trainer was given, and, while
 * there is room, `state/` with the weights and moments that it was given to.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { OptimiserConfig, PolicyBatch } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";
import { listFolder } from "./durable.js";

export const BATCHES_FOLDER = "batches";
export const BATCH_NAME = "batch.json";
/** Weights and moments inside the folder of a batch. */
export const BATCH_STATE_FOLDER = "state";

/** What `batch.json` holds. */
export interface SavedBatch {
  readonly step: number;
  readonly phase: number;
  /** The policy that the gradient was taken at, as published; earlier optimiser steps of the RL step may have changed it since. */
  readonly policyVersion: number;
  /** Which optimiser step of the RL step, from 0. */
  readonly miniBatch: number;
  readonly cause: "non_finite" | "guard";
  readonly reason: string;
  /** Null where they were not finite, or the trainer does not tell the norm before a step. */
  readonly loss: number | null;
  readonly gradNorm: number | null;
  readonly optimiser: OptimiserConfig;
  readonly batch: PolicyBatch;
  /** The responses, in the order of `batch.groups`. */
  readonly groups: readonly {
    readonly groupId: string;
    readonly taskId: string;
    readonly rollouts: readonly { readonly id: string; readonly text: string; readonly reward: number }[];
  }[];
}

const NOT_FINITE = ["NaN", "Infinity", "-Infinity"];
/** Text that stands for a number, so that a string of a response is never taken for one. */
const MARK = "\u0000";

/** As JSON in which numbers that are not finite survive. */
export function encodeBatch(saved: SavedBatch): string {
  return JSON.stringify({ schema_version: 1, ...saved }, (_, value) =>
    typeof value === "number" && !Number.isFinite(value) ? `${MARK}${value}` : value,
  );
}

const schema = z.looseObject({
  schema_version: z.literal(1),
  step: z.number().int(),
  miniBatch: z.number().int(),
  reason: z.string(),
  batch: z.looseObject({ groups: z.array(z.unknown()), loss: z.looseObject({}), microBatchTokens: z.number() }),
  optimiser: z.looseObject({ learningRate: z.number() }),
});

/** Reads the folder of a saved batch. Errors: WEIR_E_FILE_MISSING where it is none; WEIR_E_RUN_FOLDER where it is damaged. */
export async function readSavedBatch(
  directory: string,
): Promise<{ readonly saved: SavedBatch; readonly state: string | null }> {
  const path = join(directory, BATCH_NAME);
  const text = await readFile(path, "utf8").catch((cause) => {
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected the folder of a saved batch at "${directory}", it has no ${BATCH_NAME}; give one such as runs/ID/batches/step-00007-1`,
      { directory },
      { cause },
    );
  });
  let saved: SavedBatch;
  try {
    const tree: unknown = JSON.parse(text, (_, value) =>
      typeof value === "string" && value.startsWith(MARK) && NOT_FINITE.includes(value.slice(1))
        ? Number(value.slice(1))
        : value,
    );
    const { schema_version: _, ...rest } = schema.parse(tree);
    saved = rest as unknown as SavedBatch;
  } catch (cause) {
    const { message } = cause as Error;
    throw new WeirError("WEIR_E_RUN_FOLDER", `${path} is damaged: ${message}`, { path }, { cause });
  }
  const state = join(directory, BATCH_STATE_FOLDER);
  const found = await stat(state).catch(() => null);
  return { saved, state: found?.isDirectory() === true ? state : null };
}

/** Bytes of weights and moments that are kept with the batches of a run. */
export async function savedStateBytes(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder).catch(() => [] as string[])) {
    const state = join(folder, name, BATCH_STATE_FOLDER);
    const { files } = await listFolder(state).catch(() => ({ files: [] }));
    for (const file of files) sum += (await stat(join(state, file)).catch(() => null))?.size ?? 0;
  }
  return sum;
}
