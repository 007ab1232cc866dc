/** `config.json` of a run folder: the resolved options, the digests of its inputs, and every later change of an option. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { currentOptionPath, currentOptions, currentOptionValue } from "../config/old-names.js";
import type { ConfigChange } from "../contracts/config-change.js";
import type { RunOrder } from "../contracts/knob.js";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { asDiskError } from "../system/disk-error.js";
import { writeDurably } from "./durable.js";

const CONFIG_NAME = "config.json";
const SCHEMA_VERSION = 1;

export type { ConfigChange };

/** What config.json holds. */
export interface RunRecord {
  readonly schema_version: 1;
  readonly id: string;
  /** The options as they are now. */
  readonly config: Json;
  /** What the run learns from: fingerprints and files. */
  readonly dataset: Json;
  /** What it started from: digests; null in folders of versions that took none. */
  readonly model: Json;
  /** Every change of an option since the run began, oldest first. */
  readonly changes: readonly ConfigChange[];
  /** Every order since the run began, oldest first, each with the number of changes before it. */
  readonly orders: readonly (RunOrder & { readonly changes: number })[];
  /** Wall clock, ms. */
  readonly created: number;
}

const orderSchema = z.object({
  order: z.discriminatedUnion("type", [
    z.object({ type: z.literal("set"), path: z.string(), value: z.number().nullable() }),
    z.object({ type: z.literal("skipBatch") }),
    z.object({ type: z.literal("skipPhase") }),
    z.object({ type: z.literal("rollback"), to: z.number().nullable() }),
    z.object({ type: z.literal("replace"), kind: z.string(), name: z.string().nullable() }),
  ]),
  by: z.object({ kind: z.enum(["program", "operator", "guard", "rollback"]), name: z.string() }),
  reason: z.string().nullable(),
  at: z.number(),
  rollbacks: z.number().default(0),
  changes: z.number(),
});

const recordSchema = z.object({
  schema_version: z.literal(SCHEMA_VERSION),
  id: z.string(),
  config: z.unknown(),
  dataset: z.unknown(),
  model: z.unknown().default(null),
  changes: z.array(z.object({ path: z.string(), old: z.unknown(), new: z.unknown() })).default([]),
  orders: z.array(orderSchema).default([]),
  created: z.number(),
});

/**
 * Reads config.json of a run, options of earlier builds under their present names.
 * Errors: WEIR_E_FILE_MISSING where the folder is not a run; WEIR_E_RUN_FOLDER where it is damaged or of a newer version; WEIR_E_DISK.
 */
export async function readRunRecord(directory: string): Promise<RunRecord> {
  const path = join(directory, CONFIG_NAME);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const disk = asDiskError(cause, path);
    if (WeirError.isInstance(disk) && !["ENOENT", "ENOTDIR"].includes(String(disk.details.errno))) throw disk;
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected a run folder at "${directory}", it has no ${CONFIG_NAME}; give the folder of a run, such as runs/ID`,
      { directory },
      { cause },
    );
  }
  let tree: unknown;
  try {
    tree = JSON.parse(text);
  } catch (cause) {
    throw damaged(path, (cause as Error).message, cause);
  }
  const version = (tree as { schema_version?: unknown } | null)?.schema_version;
  if (typeof version === "number" && version > SCHEMA_VERSION) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `${path}: a newer weir wrote this run folder (schema ${version}, this one reads ${SCHEMA_VERSION}); use that version, or a newer one`,
      { path, version },
    );
  }
  const result = recordSchema.safeParse(tree);
  if (result.success) {
    const { config, changes, ...rest } = result.data;
    const paths = changes.map(({ path, old, new: given, ...change }) => {
      const now = (value: unknown) => currentOptionValue(path, value, config);
      return { ...change, path: currentOptionPath(path), old: now(old), new: now(given) };
    });
    return { ...rest, config: currentOptions(config), changes: paths } as RunRecord;
  }
  const [issue] = result.error.issues;
  throw damaged(path, `"${issue?.path.join(".") || "the whole"}": ${issue?.message}`, result.error);
}

function damaged(path: string, reason: string, cause: unknown): WeirError {
  return new WeirError(
    "WEIR_E_RUN_FOLDER",
    `${path} is damaged: ${reason}; restore the file from a copy, or start another run`,
    { path },
    { cause },
  );
}

/** Writes config.json in one step. Errors: WEIR_E_DISK. */
export async function writeRunRecord(directory: string, record: RunRecord): Promise<void> {
  await writeDurably(join(directory, CONFIG_NAME), `${JSON.stringify(record, null, 2)}\n`);
}
