/** A trainer's saved state: where the server keeps weights and moments, and which version they are. One small JSON file in a folder. */
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { WeirError } from "../../errors.js";

const STATE_FILE = "tinker-state.json";
const SCHEMA = 1;

const STATE = z.object({
  schemaVersion: z.literal(SCHEMA),
  /** Address at the server. */
  address: z.string(),
  baseModel: z.string(),
  rank: z.number(),
  /** The version that was published last. */
  version: z.object({ n: z.number().int(), sha256: z.string() }),
  /** The weights have got no version of their own yet. */
  changed: z.boolean(),
  /** Names the weights by what was done to the base model. */
  lineage: z.string(),
});

export type TrainerState = Omit<z.infer<typeof STATE>, "schemaVersion">;

export async function writeState(folder: string, state: TrainerState): Promise<void> {
  await mkdir(folder, { recursive: true });
  const text = JSON.stringify({ schemaVersion: SCHEMA, ...state }, null, 2);
  await writeFile(join(folder, STATE_FILE), `${text}\n`);
}

/** Null where the folder has no such file. Errors: WEIR_E_CHECKPOINT_DAMAGED where it cannot be read. */
export async function readState(folder: string): Promise<TrainerState | null> {
  const path = join(folder, STATE_FILE);
  try {
    await access(path);
  } catch {
    return null;
  }
  try {
    return STATE.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${path} cannot be read as the state of a trainer; use another checkpoint`,
      { path },
      { cause },
    );
  }
}
