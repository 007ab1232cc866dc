import { z } from "zod";
import { configSchema } from "../config/schema.js";
import type { Engine, EngineOptions } from "../contracts/engine.js";
import { WeirError } from "../errors.js";
import { startEngine } from "../model/engine/host.js";
import { loadJson } from "./load-json.js";

/** Runs a piece of work on an engine that is closed afterwards, whatever happens; an interrupt aborts the work. */
export async function withEngine<T>(
  modelDirectory: string,
  backend: string | undefined,
  work: (engine: Engine, signal: AbortSignal) => Promise<T>,
  rotaryDtype?: string,
): Promise<T> {
  const defaults = configSchema.shape.engine.parse({}) as EngineOptions;
  const known = ["auto", "tensorflow", "wasm", "cpu"] as const;
  const chosen = known.find((name) => name === (backend ?? "auto"));
  if (!chosen)
    throw new WeirError("WEIR_E_USAGE", `--backend: expected one of ${known.join(", ")}, got "${backend}"`, {
      backend,
    });
  if (rotaryDtype !== undefined && rotaryDtype !== "float32" && rotaryDtype !== "bfloat16")
    throw new WeirError("WEIR_E_USAGE", `--rotary-dtype: expected float32 or bfloat16, got "${rotaryDtype}"`, {
      rotaryDtype,
    });
  const controller = new AbortController();
  const onSignal = () => controller.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "interrupted", {}));
  process.once("SIGINT", onSignal);
  const engine = await startEngine({
    modelDir: modelDirectory,
    options: { ...defaults, backend: chosen },
    ...(rotaryDtype === undefined ? {} : { rotaryDtype }),
  });
  try {
    return await work(engine, controller.signal);
  } finally {
    process.off("SIGINT", onSignal);
    await engine.close();
  }
}

const sequencesSchema = z.object({ sequences: z.array(z.array(z.number().int().nonnegative()).min(1)) });

/** Sequences of token ids from `{"sequences": [[id, …], …]}`. Errors: WEIR_E_FILE_MISSING, WEIR_E_DATA. */
export async function readSequences(file: string): Promise<number[][]> {
  return (await loadJson(file, sequencesSchema)).sequences;
}

/** Errors: WEIR_E_USAGE for an id outside the vocabulary, WEIR_E_PROMPT_TOO_LONG for a sequence that does not fit. */
export function checkSequences(sequences: readonly (readonly number[])[], engine: Engine, extraTokens = 0): void {
  for (const [index, row] of sequences.entries()) {
    const bad = row.find((id) => id >= engine.model.vocabSize);
    if (bad !== undefined)
      throw new WeirError(
        "WEIR_E_USAGE",
        `sequence ${index}: token id ${bad} lies outside the vocabulary of ${engine.model.vocabSize}`,
        { index, id: bad },
      );
    if (row.length + extraTokens > engine.model.maxPositions) {
      throw new WeirError(
        "WEIR_E_PROMPT_TOO_LONG",
        `sequence ${index}: ${row.length}${extraTokens > 0 ? ` + ${extraTokens}` : ""} tokens, the model has ${engine.model.maxPositions} positions`,
        { index },
      );
    }
  }
}
