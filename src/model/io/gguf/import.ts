/** Imports a GGUF file into a Hugging Face model folder: configuration, tokenizer, chat template, dequantised weights. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { WeightDtype } from "../../../contracts/engine.js";
import { alignAutoTokenizer } from "../auto-tokenizer.js";
import { parseModelConfig } from "../config.js";
import { STORED_DTYPE } from "../dtype.js";
import { publishFolder } from "../publish-folder.js";
import { writeSafetensors } from "../safetensors.js";
import type { TensorSource } from "../tensor-source.js";
import { WEIGHTS_FILE } from "../tensors.js";
import { Metadata } from "./metadata.js";
import { configFromGguf, specialIds } from "./model-config.js";
import { readGgufModel } from "./split.js";
import { tensorsFromGguf } from "./tensors.js";
import { tokenizerFromGguf } from "./tokenizer.js";

export interface ImportOptions {
  /** Type of the written weights; float32 keeps the dequantised values exactly. */
  readonly dtype: WeightDtype;
  /** Called after each tensor. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ImportReport {
  readonly directory: string;
  readonly family: string;
  readonly parameters: number;
  readonly tensors: number;
  /** How many tensors the file stores in each type. */
  readonly storedTypes: Readonly<Record<string, number>>;
  readonly dtype: WeightDtype;
  readonly vocabSize: number;
  readonly chatTemplate: boolean;
}

/** The same tensors, reporting each one that is read. */
function counted(source: TensorSource, onProgress: ImportOptions["onProgress"]): TensorSource {
  const total = source.names().length;
  let done = 0;
  return {
    names: source.names,
    shape: source.shape,
    read: (name) => {
      const values = source.read(name);
      done += 1;
      onProgress?.(done, total);
      return values;
    },
  };
}

/**
 * Imports `file` into `directory`, which must not exist or be empty; it appears only when complete. Memory stays at one
 * tensor. Throws WEIR_E_FILE_MISSING, WEIR_E_GGUF (damaged; unsupported tensor type, architecture or pre-tokenizer),
 * WEIR_E_MODEL_UNSUPPORTED, WEIR_E_NON_FINITE (a value that float16 cannot hold), WEIR_E_USAGE (folder in use).
 */
export async function importGguf(file: string, directory: string, options: ImportOptions): Promise<ImportReport> {
  const head = readGgufModel(file);
  const metadata = new Metadata(head);
  const config = configFromGguf(head, options.dtype);
  const ids = specialIds(metadata);
  const stopIds = [ids.eos, ids.endOfTurn].filter((id) => id !== null);
  const generation = {
    bos_token_id: ids.bos,
    eos_token_id: stopIds.length > 1 ? stopIds : (stopIds[0] ?? null),
    pad_token_id: ids.pad,
  };
  const model = parseModelConfig(config, generation);
  const tensors = tensorsFromGguf(head, model);
  const { tokenizer, config: tokenizerConfig, chatTemplate } = tokenizerFromGguf(head, model.maxPositions);
  await publishFolder(directory, async (folder) => {
    const writeJson = (name: string, value: unknown) =>
      writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
    await writeJson("config.json", config);
    await writeJson("generation_config.json", generation);
    await writeJson("tokenizer.json", tokenizer);
    await writeJson("tokenizer_config.json", tokenizerConfig);
    await alignAutoTokenizer(folder);
    if (chatTemplate !== null) await writeFile(join(folder, "chat_template.jinja"), chatTemplate);
    const path = join(folder, WEIGHTS_FILE);
    await writeSafetensors(path, counted(tensors, options.onProgress), { format: "pt" }, STORED_DTYPE[options.dtype]);
  });
  const storedTypes: Record<string, number> = {};
  let parameters = 0;
  for (const tensor of head.tensors.values()) storedTypes[tensor.type] = (storedTypes[tensor.type] ?? 0) + 1;
  for (const name of tensors.names()) parameters += tensors.shape(name).reduce((product, size) => product * size, 1);
  return {
    directory,
    family: model.family,
    parameters,
    tensors: tensors.names().length,
    storedTypes,
    dtype: options.dtype,
    vocabSize: model.vocabSize,
    chatTemplate: chatTemplate !== null,
  };
}
