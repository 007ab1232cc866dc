/**
 * A policy's adapter as a folder in the PEFT format (`adapter/` next to the merged weights): `adapter_config.json` and
 * `adapter_model.safetensors` with `base_model.model.<module>.lora_A.weight` [r, in] and `lora_B.weight` [out, r].
 * Its metadata says how it was trained and, by content hash, on which weights; it is read back only where both fit.
 */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { LoraOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { isMissing } from "./json.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import { type TensorSource, tensorsInMemory } from "./tensor-source.js";

const ADAPTER_FOLDER = "adapter";
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";
export const ADAPTER_CONFIG = "adapter_config.json";
/** Before the names of a model's tensors. */
export const ADAPTER_PREFIX = "base_model.model.";
const BASE_KEY = "base_sha256";
const OPTIONS_KEY = "lora";

/** The frozen weights: their folder and the content hash of the whole model. */
export interface BaseModel {
  readonly directory: string;
  readonly sha256: string;
}

/** The content of an adapter's folder. */
export interface SavedAdapter {
  readonly options: LoraOptions;
  /** Pairs by their names inside the model. */
  readonly tensors: TensorSource;
  readonly base: BaseModel;
}

/** What the pairs' values depend on besides the weights. */
const optionsText = ({ rank, alpha, targets }: LoraOptions): string =>
  JSON.stringify({ rank, alpha, targets: [...targets].sort() });

/** Writes `adapter/` into a folder; returns its path. */
export async function writeAdapter(directory: string, { options, tensors, base }: SavedAdapter): Promise<string> {
  const folder = join(directory, ADAPTER_FOLDER);
  await mkdir(folder, { recursive: true });
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: resolve(base.directory),
    r: options.rank,
    lora_alpha: options.alpha,
    target_modules: options.targets,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
  };
  await writeFile(join(folder, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  const named: TensorSource = {
    names: () => tensors.names().map((name) => `${ADAPTER_PREFIX}${name}`),
    shape: (name) => tensors.shape(name.slice(ADAPTER_PREFIX.length)),
    read: (name) => tensors.read(name.slice(ADAPTER_PREFIX.length)),
  };
  await writeSafetensors(join(folder, ADAPTER_WEIGHTS), named, {
    format: "pt",
    [BASE_KEY]: base.sha256,
    [OPTIONS_KEY]: optionsText(options),
  });
  return folder;
}

/** Copies the adapter of a model folder into another one, if it has one. */
export async function copyAdapter(from: string, to: string): Promise<void> {
  try {
    await cp(join(from, ADAPTER_FOLDER), join(to, ADAPTER_FOLDER), { recursive: true });
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/**
 * The pairs in a model folder's adapter, read into memory; null where it has none. Throws WEIR_E_CHECKPOINT_DAMAGED where it
 * was trained with other options, on other weights or has other pairs than `expected`.
 */
export async function readAdapter(directory: string, expected: SavedAdapter): Promise<TensorSource | null> {
  const path = join(directory, ADAPTER_FOLDER, ADAPTER_WEIGHTS);
  const file = await readSafetensors(path).catch((error: unknown) => {
    if (error instanceof WeirError && error.code === "WEIR_E_FILE_MISSING") return null;
    throw error;
  });
  if (file === null) return null;
  const refuse = (what: string, found: string | undefined, wanted: string, remedy: string): never => {
    throw new WeirError(
      "WEIR_E_CHECKPOINT_DAMAGED",
      `${path} was trained ${what} ${found ?? "that it does not name"}, not ${wanted}; ${remedy}`,
      { path, found: found ?? null, wanted },
    );
  };
  const { [BASE_KEY]: sha256, [OPTIONS_KEY]: options } = file.metadata;
  if (sha256 !== expected.base.sha256) {
    refuse("on weights", sha256?.slice(0, 12), expected.base.sha256.slice(0, 12), "start from the same model folder");
  }
  const wanted = optionsText(expected.options);
  if (options !== wanted) refuse("with", options, wanted, "give the model.lora it was trained with");
  const pairs: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  for (const name of expected.tensors.names()) {
    const shape = expected.tensors.shape(name);
    const stored = `${ADAPTER_PREFIX}${name}`;
    const found = file.names().includes(stored) ? file.shape(stored).join(", ") : undefined;
    if (found !== shape.join(", "))
      refuse(`with a ${name} of shape`, found, shape.join(", "), "use another checkpoint");
    pairs[name] = { shape, data: file.read(stored) };
  }
  return tensorsInMemory(pairs);
}
