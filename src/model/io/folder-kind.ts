/**
 * Recognises what users give instead of a model folder: a name on the Hugging Face hub, a GGUF file, an adapter, a folder
 * one level too high. Reads names only, and accepts whatever may be a folder of a model or a tokenizer.
 */
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { WeirError } from "../../errors.js";
import { isMissing, readJsonIfPresent } from "./json.js";

const CONFIG = "config.json";
const ADAPTER_CONFIG = "adapter_config.json";
const HUB_NAME =
  /^(?:(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/|hf:\/\/)?([\w.-]+\/[\w.-]+)(?:[:@][\w.-]+)?\/?$/;
/** Levels below a folder that are searched for a model: a hub cache has `snapshots/REVISION`. */
const SEARCH_DEPTH = 3;
const MAX_SHOWN = 3;

function refuse(path: string, message: string): WeirError {
  return new WeirError("WEIR_E_FILE_MISSING", message, { path });
}

function absent(path: string): WeirError {
  const name = HUB_NAME.exec(path)?.[1];
  const isAddress = path.includes("huggingface.co") || path.includes("hf.co") || path.startsWith("hf:");
  if (name === undefined || (path.startsWith(".") && !isAddress)) {
    const hint = /^[\w-]+$/.test(path) ? " (names on the Hugging Face hub are not fetched)" : "";
    return refuse(path, `${path} does not exist. Give the path of a Hugging Face model folder${hint}.`);
  }
  return refuse(
    path,
    `there is no folder ${path}. A local model folder is expected; names on the Hugging Face hub are not fetched. ` +
      `Download it first, for example with "hf download ${name} --local-dir ${name.split("/")[1]}", and give that folder.`,
  );
}

function notFolder(path: string): WeirError {
  if (/\.gguf$/i.test(path))
    return refuse(
      path,
      `${path} is a GGUF file, and a Hugging Face model folder is expected. Import it first: weir import ${path} NEW_FOLDER.`,
    );
  return refuse(
    path,
    `${path} is a file, and a Hugging Face model folder is expected. Give its folder: ${dirname(path)}.`,
  );
}

/** Folders below that hold a model, nearest first. */
async function modelsBelow(directory: string): Promise<string[]> {
  const found: string[] = [];
  let level = [directory];
  for (let depth = 0; depth < SEARCH_DEPTH && found.length === 0; depth += 1) {
    const next: string[] = [];
    for (const folder of level) {
      const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
      for (const entry of entries) if (entry.isDirectory()) next.push(join(folder, entry.name));
    }
    for (const folder of next) if ((await stat(join(folder, CONFIG)).catch(() => null)) !== null) found.push(folder);
    level = next;
  }
  return found.sort();
}

async function adapterFault(directory: string): Promise<WeirError> {
  const config = await readJsonIfPresent(join(directory, ADAPTER_CONFIG), "WEIR_E_MODEL_FILES");
  const base = config?.base_model_name_or_path;
  const named = typeof base === "string" && base !== "" ? ` of the model ${JSON.stringify(base)}` : "";
  return refuse(
    directory,
    `${directory} holds a PEFT adapter${named} without its base model. weir reads whole models: load the adapter on its base with PEFT, ` +
      "call merge_and_unload() and save_pretrained(FOLDER), and give that folder with the base's tokenizer files.",
  );
}

/** Throws WEIR_E_FILE_MISSING for a path that cannot be a model folder, with what it is and what to give instead. */
export async function checkModelFolder(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (found === null) throw absent(path);
  if (!found.isDirectory()) throw notFolder(path);
  const names = await readdir(path);
  if (names.includes(CONFIG)) return;
  if (names.includes(ADAPTER_CONFIG)) throw await adapterFault(path);
  if (names.includes("tokenizer.json")) return;
  const gguf = names.filter((name) => /\.gguf$/i.test(name)).sort();
  if (gguf[0] !== undefined)
    throw refuse(
      path,
      `${path} holds ${gguf[0]} and no ${CONFIG}. Import it first: weir import ${join(path, gguf[0])} NEW_FOLDER.`,
    );
  if (names.includes("params.json"))
    throw refuse(
      path,
      `${path} holds a model in its maker's own layout (params.json), and ${CONFIG} is expected. Fetch the Hugging Face form of the model.`,
    );
  const below = await modelsBelow(path);
  if (below.length > 0)
    throw refuse(
      path,
      `${path} holds no model itself (no ${CONFIG}); below it there is one in ${below.slice(0, MAX_SHOWN).join(", ")}${below.length > MAX_SHOWN ? ` and ${below.length - MAX_SHOWN} more` : ""}. Give that path.`,
    );
}
