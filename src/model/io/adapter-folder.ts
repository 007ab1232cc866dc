/**
 * A policy's adapter as a folder of its own in the PEFT format (`adapter/` beside the merged weights): `adapter_config.json` and
 * `adapter_model.safetensors` with `base_model.model.<module>.lora_A.weight` [r, in] and `lora_B.weight` [out, r].
 * Its metadata name the weights that it belongs to by their content hash.
 */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { LoraOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { isMissing } from "./json.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import type { TensorSource } from "./tensor-source.js";

const ADAPTER_FOLDER = "adapter";
const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
const PREFIX = "base_model.model.";
const BASE_KEY = "base_sha256";

/** Tensors of `source` under names that `outer` makes of theirs; `inner` is its inverse. */
function renamed(source: TensorSource, outer: (name: string) => string, inner: (name: string) => string): TensorSource {
  return {
    names: () => source.names().map(outer).sort(),
    shape: (name) => source.shape(inner(name)),
    read: (name) => source.read(inner(name)),
  };
}

const withPrefix = (name: string): string => `${PREFIX}${name}`;
const withoutPrefix = (name: string): string => name.slice(PREFIX.length);

/** What an adapter's folder says. */
export interface SavedAdapter {
  readonly options: LoraOptions;
  /** Pairs by their names inside the model. */
  readonly tensors: TensorSource;
  /** Folder and content hash of the frozen weights. */
  readonly baseDir: string;
  readonly baseSha256: string;
}

/** Writes `adapter/` into a model folder. */
export async function writeAdapter(directory: string, adapter: SavedAdapter): Promise<void> {
  const { rank, alpha, targets } = adapter.options;
  const folder = join(directory, ADAPTER_FOLDER);
  await mkdir(folder, { recursive: true });
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: resolve(adapter.baseDir),
    r: rank,
    lora_alpha: alpha,
    target_modules: targets,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
  };
  await writeFile(join(folder, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  const tensors = renamed(adapter.tensors, withPrefix, withoutPrefix);
  await writeSafetensors(join(folder, WEIGHTS), tensors, { format: "pt", [BASE_KEY]: adapter.baseSha256 });
}

/** Copies the adapter of a model folder into another one, where there is any. */
export async function copyAdapter(from: string, to: string): Promise<void> {
  try {
    await cp(join(from, ADAPTER_FOLDER), join(to, ADAPTER_FOLDER), { recursive: true });
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/**
 * The adapter of a model folder; null where it has none. Throws WEIR_E_CHECKPOINT_DAMAGED where it belongs to other frozen
 * weights than those of `baseSha256`.
 */
export async function readAdapter(directory: string, baseSha256: string): Promise<TensorSource | null> {
  const path = join(directory, ADAPTER_FOLDER, WEIGHTS);
  const file = await readSafetensors(path).catch((error: unknown) => {
    if (isMissing(error) || (error instanceof WeirError && error.code === "WEIR_E_FILE_MISSING")) return null;
    throw error;
  });
  if (file === null) return null;
  const base = file.metadata[BASE_KEY];
  if (base !== baseSha256) {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${path} was trained on weights ${base?.slice(0, 12)}…, the model that was started from has ${baseSha256.slice(0, 12)}…; start from the same model folder`,
      { path },
    );
  }
  return renamed(file, withoutPrefix, withPrefix);
}
