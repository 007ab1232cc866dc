import { z } from "zod";
import { configSchema } from "../config/schema.js";
import { BACKEND_CHOICES, type Engine, type EngineOptions, PRECISIONS } from "../contracts/engine.js";
import { WeirError } from "../errors.js";
import { type StartEngineInput, startEngine } from "../model/engine/host.js";
import type { RotaryDtype } from "../model/io/rope-config.js";
import { loadJson } from "./load-json.js";

/** The backend that `--backend` names; auto where it was not given. Errors: WEIR_E_USAGE. */
export function backendNamed(text: string | undefined): EngineOptions["backend"] {
  const chosen = BACKEND_CHOICES.find((name) => name === (text ?? "auto"));
  if (!chosen)
    throw new WeirError("WEIR_E_USAGE", `--backend: expected one of ${BACKEND_CHOICES.join(", ")}, got "${text}"`, {
      backend: text,
    });
  return chosen;
}

const isRotaryDtype = (text: string): text is RotaryDtype => PRECISIONS.some((name) => name === text);

/** Every option of an engine at its default. */
export const defaultEngineOptions = (): EngineOptions => ({ ...configSchema.shape.engine.parse({}), lora: null });

/** Runs a piece of work on an engine that is closed afterwards, whatever happens; an interrupt aborts the work. */
export async function withEngineOptions<T>(
  input: StartEngineInput,
  work: (engine: Engine, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const onSignal = () => controller.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "interrupted", {}));
  process.once("SIGINT", onSignal);
  try {
    const engine = await startEngine(input);
    try {
      return await work(engine, controller.signal);
    } finally {
      await engine.close();
    }
  } finally {
    process.off("SIGINT", onSignal);
  }
}

/** `withEngineOptions` with defaults, apart from the options `--backend` and `--rotary-dtype`. */
export async function withEngine<T>(
  modelDirectory: string,
  backend: string | undefined,
  work: (engine: Engine, signal: AbortSignal) => Promise<T>,
  rotaryDtype?: string,
): Promise<T> {
  if (rotaryDtype !== undefined && !isRotaryDtype(rotaryDtype))
    throw new WeirError("WEIR_E_USAGE", `--rotary-dtype: expected ${PRECISIONS.join(" or ")}, got "${rotaryDtype}"`, {
      rotaryDtype,
    });
  const options = { ...defaultEngineOptions(), backend: backendNamed(backend) };
  return withEngineOptions(
    { modelDir: modelDirectory, options, ...(rotaryDtype === undefined ? {} : { rotaryDtype }) },
    work,
  );
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
        `sequence ${index}: token id ${bad} lies beyond the model's vocabulary of ${engine.model.vocabSize} (ids begin at 0); give ids of the model's own tokenizer`,
        { index, id: bad },
      );
    if (row.length + extraTokens > engine.model.maxPositions) {
      throw new WeirError(
        "WEIR_E_PROMPT_TOO_LONG",
        `sequence ${index}: ${row.length}${extraTokens > 0 ? ` + ${extraTokens}` : ""} tokens, the model has ${engine.model.maxPositions} positions; give a shorter sequence${extraTokens > 0 ? " or fewer --max-tokens" : ""}`,
        { index },
      );
    }
  }
}
