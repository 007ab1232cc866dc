import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../config/schema.js";
import { contentHash } from "../../data/canonical.js";
import type { RunSources } from "./resume-check.js";

/** Digests of a run's inputs, taken when it begins and compared when it is resumed. */

/** Files of a model folder that decide how text becomes tokens. */
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
];

export interface DataDigests {
  readonly fingerprint: string;
  readonly train: string;
  readonly heldout: string;
  readonly warmup: string;
}

/** `weights` is the engine's own digest of the loaded weights; "" where it takes none. */
export async function runSources(config: Config, data: DataDigests, weights: string): Promise<RunSources> {
  return {
    dataset: { ...data, files: [...config.data.train, ...config.data.heldout, ...config.warmup.data] },
    model: await modelDigests(config.model.path, weights),
  };
}

/** Digests of a model folder. */
export async function modelDigests(path: string, weights: string): Promise<RunSources["model"]> {
  return { weights, config: await jsonDigest(join(path, "config.json")), tokenizer: await filesDigest(path) };
}

/** Of the content, not the bytes: formatting does not matter. "" where there is no such file. */
async function jsonDigest(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => null);
  return text === null ? "" : contentHash(JSON.parse(text));
}

async function filesDigest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of TOKENIZER_FILES) {
    const content = await readFile(join(folder, name)).catch(() => null);
    if (content !== null) hash.update(`${name}\n${content.length}\n`).update(content);
  }
  return hash.digest("hex");
}
