/** What a run tells its workers through the queue, and whether a worker fits it. */
import { z } from "zod";
import { ARTIFACT_KINDS } from "../../contracts/published-policy.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";

/** Digests of a model folder; `weights` is "" where nobody has taken it. */
export type ModelDigests = Readonly<Record<"weights" | "config" | "tokenizer", string>>;

const settingsSchema = z.object({
  schema_version: z.literal(1),
  /** Of weir. */
  version: z.string(),
  model: z.object({ weights: z.string(), config: z.string(), tokenizer: z.string() }),
  /** Form of the weights that are published. */
  artifact: z.enum(ARTIFACT_KINDS),
  /** The run's configuration but for monitor and log; keys of servers are never in it. */
  config: z.record(z.string(), z.json()),
});

export type WorkSettings = Readonly<z.output<typeof settingsSchema>>;

/** Errors: WEIR_E_WORKER for a record that this weir does not know. */
export function parseSettings(record: Json): WorkSettings {
  const read = settingsSchema.safeParse(record);
  if (read.success) return read.data;
  throw new WeirError(
    "WEIR_E_WORKER",
    `the run's record is not one of this version of weir (${z.prettifyError(read.error).split("\n")[0]}); install the run's version on this machine`,
  );
}

/**
 * Whether a worker would draw what the run would. Errors: WEIR_E_WORKER naming everything that differs. Weights are compared where both
 * sides know theirs.
 */
export function assertFits(
  run: Pick<WorkSettings, "version" | "model">,
  worker: Pick<WorkSettings, "version" | "model">,
): void {
  const differences: string[] = [];
  if (run.version !== worker.version)
    differences.push(`the run has weir ${run.version}, this worker ${worker.version}: install the run's`);
  const named = { weights: "weights are", config: "config.json is", tokenizer: "tokenizer is" } as const;
  for (const key of ["weights", "config", "tokenizer"] as const) {
    const [there, here] = [run.model[key], worker.model[key]];
    if (there === here || (key === "weights" && (there === "" || here === ""))) continue;
    differences.push(
      `the model's ${named[key]} not the run's (${short(here)}, the run has ${short(there)}): give the run's base model with --model`,
    );
  }
  if (differences.length === 0) return;
  throw new WeirError("WEIR_E_WORKER", `this worker does not fit the run: ${differences.join("; ")}`, { differences });
}

const short = (digest: string) => digest.slice(0, 12) || "none";
