/**
 * Writes a Hugging Face model folder: weights from a `TensorSource`, everything else copied from the folder the model
 * came from. Invariants: a tied head is stored once; the dtype in config.json is that of the weights; AutoTokenizer of
 * transformers gives the ids that weir gives.
 */

import { copyFile, cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { WeightDtype } from "../../contracts/engine.js";
import { alignAutoTokenizer } from "./auto-tokenizer.js";
import { readModelConfig } from "./config.js";
import { STORED_DTYPE } from "./dtype.js";
import { isMissing, readJson } from "./json.js";
import { writeSafetensors } from "./safetensors.js";
import { expectedTensors } from "./tensor-names.js";
import { elementCount, type TensorSource, unknownTensor } from "./tensor-source.js";
import { WEIGHTS_FILE, WEIGHTS_INDEX } from "./tensors.js";

/** Files besides the weights that make a folder usable; copied where they exist. */
const COMPANIONS = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "chat_template.json",
  "additional_chat_templates",
] as const;

export interface ModelFolderOptions {
  /** Folder whose configuration, tokenizer and chat template the new one takes. */
  readonly sourceDir: string;
  readonly tensors: TensorSource;
  readonly dtype: WeightDtype;
}

async function copyCompanions(from: string, to: string): Promise<void> {
  if (resolve(from) === resolve(to)) return;
  for (const name of COMPANIONS) {
    try {
      if (name === "additional_chat_templates") await cp(join(from, name), join(to, name), { recursive: true });
      else await copyFile(join(from, name), join(to, name));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

/**
 * Writes `directory` (made when absent; files of the same names are replaced). Tensor by tensor, so memory stays at one
 * tensor. Throws WEIR_E_MODEL_FILES when a tensor of the configuration is not offered or has another shape,
 * WEIR_E_NON_FINITE when a value does not fit float16, and as `readModelConfig` for the source folder.
 */
export async function writeModelFolder(directory: string, options: ModelFolderOptions): Promise<void> {
  const { sourceDir, tensors, dtype } = options;
  const expected = expectedTensors(await readModelConfig(sourceDir));
  const offered = new Set(tensors.names());
  for (const [name, shape] of expected) {
    if (!offered.has(name) || elementCount(tensors.shape(name)) !== elementCount(shape))
      throw unknownTensor(`${name} [${shape.join(", ")}]`, "The set of tensors to write");
  }
  const config: Record<string, unknown> = { ...(await readJson(join(sourceDir, "config.json"), "WEIR_E_MODEL_FILES")) };
  if ("torch_dtype" in config) config.torch_dtype = dtype;
  if ("dtype" in config || !("torch_dtype" in config)) config.dtype = dtype;

  await mkdir(directory, { recursive: true });
  await copyCompanions(sourceDir, directory);
  await writeFile(join(directory, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  await alignAutoTokenizer(directory);
  const selected: TensorSource = {
    names: () => [...expected.keys()].sort(),
    shape: (name) => expected.get(name) ?? [],
    read: (name) => tensors.read(name),
  };
  await writeSafetensors(join(directory, WEIGHTS_FILE), selected, { format: "pt" }, STORED_DTYPE[dtype]);
  await rm(join(directory, WEIGHTS_INDEX), { force: true });
}
