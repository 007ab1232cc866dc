import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** Files of a model folder that decide what it answers: weights, configuration, tokenizer, chat template. */
const DECISIVE = /\.(?:safetensors|gguf|json|jinja|bin)$/;

/** Hex SHA-256 of the files of a model folder that decide what it answers. Errors: those of the file system. */
export async function modelDigest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  const names = (await readdir(folder)).filter((name) => DECISIVE.test(name)).sort();
  for (const name of names) {
    hash.update(`${name}\n`);
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}
