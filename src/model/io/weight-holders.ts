/**
 * Finds the weight files of a model folder, and the stored tensor for each name that a model expects. Knows the spellings
 * that transformers accepts too: a base model's names without `model.`, and a tied embedding that is stored as the head.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { isRecord, readJsonIfPresent } from "./json.js";
import { readSafetensors, type SafetensorsFile } from "./safetensors.js";

export const WEIGHTS_FILE = "model.safetensors";
export const WEIGHTS_INDEX = "model.safetensors.index.json";

export const EMBEDDING = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";
const BASE_PREFIX = "model.";

/** A stored tensor: its file, and its name there. */
export interface Holder {
  readonly file: SafetensorsFile;
  readonly name: string;
}

export function tensorFault(directory: string, message: string, tensor: string | null): WeirError {
  return new WeirError("WEIR_E_MODEL_FILES", `${directory}: ${message}`, { directory, tensor });
}

/** What is in a folder without safetensors, and what to do about it. */
function noWeights(directory: string, names: readonly string[]): WeirError {
  const found = (pattern: RegExp) => names.filter((name) => pattern.test(name));
  const path = join(directory, WEIGHTS_FILE);
  const fail = (what: string) =>
    new WeirError("WEIR_E_FILE_MISSING", `${directory} holds neither ${WEIGHTS_FILE} nor ${WEIGHTS_INDEX}${what}`, {
      path,
    });
  const pickles = found(/\.(?:bin|pth|pt|ckpt)$/);
  if (pickles.length > 0)
    return fail(
      `, but ${pickles[0]}: PyTorch's pickle files are not read. Convert them once with transformers: ` +
        `AutoModelForCausalLM.from_pretrained("${directory}").save_pretrained("${directory}").`,
    );
  const gguf = found(/\.gguf$/i);
  if (gguf.length > 0) return fail(`, but ${gguf[0]}. Import it: weir import ${join(directory, gguf[0]!)} NEW_FOLDER.`);
  if (names.includes("adapter_model.safetensors"))
    return fail(", but an adapter. Merge it into its base model (PEFT: merge_and_unload, then save_pretrained).");
  const shards = found(/^model-\d+-of-\d+\.safetensors$/);
  if (shards.length > 0) return fail(`, which belongs to ${shards[0]}. Fetch ${WEIGHTS_INDEX}.`);
  const others = found(/\.safetensors$/);
  if (others.length > 0)
    return fail(`, but ${others.join(", ")}. Rename the file of the whole model to ${WEIGHTS_FILE}.`);
  return fail(". Fetch the weights in safetensors form.");
}

async function readShard(directory: string, fileName: string, all: readonly string[]): Promise<SafetensorsFile> {
  try {
    return await readSafetensors(join(directory, fileName));
  } catch (error) {
    if (!(error instanceof WeirError) || error.code !== "WEIR_E_FILE_MISSING") throw error;
    const present = new Set(await readdir(directory));
    const missing = all.filter((name) => !present.has(name));
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `${directory}: ${WEIGHTS_INDEX} names ${all.length} files, and ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} missing. Fetch ${missing.length === 1 ? "it" : "them"}.`,
      { path: join(directory, fileName), missing },
      { cause: error },
    );
  }
}

/** Which file holds which tensor. The single file wins where both layouts are present, as in transformers. */
export async function storedTensors(directory: string): Promise<Map<string, Holder>> {
  const holders = new Map<string, Holder>();
  const present: readonly string[] = await readdir(directory).catch(() => []);
  if (present.includes(WEIGHTS_FILE)) {
    const file = await readSafetensors(join(directory, WEIGHTS_FILE));
    for (const name of file.names()) holders.set(name, { file, name });
    return holders;
  }
  const index = await readJsonIfPresent(join(directory, WEIGHTS_INDEX), "WEIR_E_MODEL_FILES");
  if (index === null) throw noWeights(directory, present);
  if (!isRecord(index.weight_map))
    throw tensorFault(directory, `${WEIGHTS_INDEX} has no weight_map. Fetch it again.`, null);
  for (const [name, fileName] of Object.entries(index.weight_map))
    if (typeof fileName !== "string" || fileName === "" || /[\\/]|^\.\.?$/.test(fileName))
      throw tensorFault(
        directory,
        `${WEIGHTS_INDEX} places ${name} in ${JSON.stringify(fileName)}, expected the name of a file in this folder. Fetch the index again.`,
        name,
      );
  const places = Object.entries(index.weight_map) as [string, string][];
  const fileNames = [...new Set(places.map(([, fileName]) => fileName))].sort();
  const files = new Map<string, { file: SafetensorsFile; names: ReadonlySet<string> }>();
  for (const fileName of fileNames) {
    const file = await readShard(directory, fileName, fileNames);
    files.set(fileName, { file, names: new Set(file.names()) });
  }
  for (const [name, fileName] of places) {
    const { file, names } = files.get(fileName)!;
    if (!names.has(name))
      throw tensorFault(
        directory,
        `tensor ${name} is not in ${fileName}, where ${WEIGHTS_INDEX} places it. Fetch the shard again.`,
        name,
      );
    holders.set(name, { file, name });
  }
  return holders;
}

/**
 * The stored tensors under the names that a causal language model gives them. Names are taken as they are, but for two
 * layouts: a base model saved alone has no `model.` anywhere, and a tied embedding may be stored as the head only.
 */
export function underModelNames(stored: ReadonlyMap<string, Holder>, tied: boolean): Map<string, Holder> {
  const names = [...stored.keys()];
  const isBase =
    !names.some((name) => name.startsWith(BASE_PREFIX)) && names.some((name) => name.startsWith("layers."));
  const renamed = new Map<string, Holder>();
  for (const [name, holder] of stored) renamed.set(isBase && name !== HEAD ? BASE_PREFIX + name : name, holder);
  const head = renamed.get(HEAD);
  if (tied && head !== undefined && !renamed.has(EMBEDDING)) {
    renamed.delete(HEAD);
    renamed.set(EMBEDDING, head);
  }
  return renamed;
}

/** A prefix that a training wrapper put before every name, or null. */
export function wrapperPrefix(stored: ReadonlyMap<string, Holder>): string | null {
  const holder = [...stored.keys()].find((name) => name.endsWith(EMBEDDING));
  const prefix = holder?.slice(0, -EMBEDDING.length) ?? "";
  return prefix !== "" && [...stored.keys()].every((name) => name.startsWith(prefix)) ? prefix : null;
}
