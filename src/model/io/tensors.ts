/**
 * Reads the weights of a Hugging Face model folder, single-file or sharded, and checks them against its configuration.
 * Invariant: what `names()` lists is exactly what the configuration asks for, each with the right shape.
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { type ModelConfig, readModelConfig } from "./config.js";
import { isRecord, readJsonIfPresent } from "./json.js";
import { readSafetensors, type SafetensorsFile } from "./safetensors.js";
import { expectedTensors, isRecomputed } from "./tensor-names.js";
import { type TensorSource, unknownTensor } from "./tensor-source.js";

export const WEIGHTS_FILE = "model.safetensors";
export const WEIGHTS_INDEX = "model.safetensors.index.json";

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function fault(directory: string, message: string, tensor: string | null): WeirError {
  return new WeirError("WEIR_E_MODEL_FILES", `${directory}: ${message}`, { directory, tensor });
}

/** Which file holds which tensor. The single file wins where both layouts are present, as in transformers. */
async function locate(directory: string): Promise<Map<string, SafetensorsFile>> {
  const holders = new Map<string, SafetensorsFile>();
  if (await exists(join(directory, WEIGHTS_FILE))) {
    const file = await readSafetensors(join(directory, WEIGHTS_FILE));
    for (const name of file.names()) holders.set(name, file);
    return holders;
  }
  const index = await readJsonIfPresent(join(directory, WEIGHTS_INDEX), "WEIR_E_MODEL_FILES");
  if (index === null)
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `${directory} holds neither ${WEIGHTS_FILE} nor ${WEIGHTS_INDEX}. Fetch the weights in safetensors form.`,
      { path: join(directory, WEIGHTS_FILE) },
    );
  if (!isRecord(index.weight_map)) throw fault(directory, `${WEIGHTS_INDEX} has no weight_map. Fetch it again.`, null);
  const files = new Map<string, SafetensorsFile>();
  for (const [name, fileName] of Object.entries(index.weight_map)) {
    if (typeof fileName !== "string" || /[\\/]/.test(fileName))
      throw fault(
        directory,
        `${WEIGHTS_INDEX} places ${name} in ${JSON.stringify(fileName)}, expected a file name.`,
        name,
      );
    let file = files.get(fileName);
    if (file === undefined) {
      file = await readSafetensors(join(directory, fileName));
      files.set(fileName, file);
    }
    if (!file.names().includes(name))
      throw fault(
        directory,
        `tensor ${name} is not in ${fileName}, where ${WEIGHTS_INDEX} places it. Fetch the shard again.`,
        name,
      );
    holders.set(name, file);
  }
  return holders;
}

/** A stored head beside a tied embedding is redundant, so it must be its equal. */
function checkTiedHead(directory: string, holders: ReadonlyMap<string, SafetensorsFile>): void {
  const head = holders.get("lm_head.weight")?.read("lm_head.weight");
  const embedding = holders.get("model.embed_tokens.weight")?.read("model.embed_tokens.weight");
  if (head === undefined || embedding === undefined) return;
  if (head.length !== embedding.length || head.some((value, i) => value !== embedding[i]))
    throw fault(
      directory,
      "tensor lm_head.weight differs from model.embed_tokens.weight although config.json says tie_word_embeddings. " +
        "Set tie_word_embeddings to false or remove the head.",
      "lm_head.weight",
    );
}

/**
 * Opens the weights of a model folder. `config` saves reading config.json twice.
 * Throws WEIR_E_FILE_MISSING, and WEIR_E_MODEL_FILES whose `details.tensor` names a missing, extra, wrongly shaped or
 * truncated tensor; and as `readModelConfig` when no config is given.
 */
export async function readTensors(directory: string, config?: ModelConfig): Promise<TensorSource> {
  const model = config ?? (await readModelConfig(directory));
  const expected = expectedTensors(model);
  const holders = await locate(directory);
  for (const [name, shape] of expected) {
    const holder = holders.get(name);
    if (holder === undefined)
      throw fault(directory, `tensor ${name} [${shape.join(", ")}] is missing. Fetch the whole model folder.`, name);
    const found = holder.shape(name);
    if (found.length !== shape.length || found.some((size, axis) => size !== shape[axis]))
      throw fault(
        directory,
        `tensor ${name} has the shape [${found.join(", ")}], config.json asks for [${shape.join(", ")}]. Use files of one model.`,
        name,
      );
  }
  for (const name of holders.keys()) {
    if (expected.has(name) || isRecomputed(name)) continue;
    if (name === "lm_head.weight") checkTiedHead(directory, holders);
    else throw fault(directory, `tensor ${name} has no place in a ${model.family} model of this configuration.`, name);
  }
  const holder = (name: string): SafetensorsFile => {
    const found = expected.has(name) ? holders.get(name) : undefined;
    if (found === undefined) throw unknownTensor(name, directory);
    return found;
  };
  return {
    names: () => [...expected.keys()].sort(),
    shape: (name) => holder(name).shape(name),
    read: (name) => holder(name).read(name),
  };
}
