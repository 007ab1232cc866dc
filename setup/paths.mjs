/**
 * Owns where the native engine lives and under which key: `${WEIR_CACHE | XDG_CACHE_HOME/weir | ~/.cache/weir}/native/<key>`.
 * One finished folder per key; everything unfinished starts with a dot, so a reader never meets half an engine.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** The JS package that is installed, and the newest N-API version it declares. */
export const TFJS_VERSION = "4.22.0";
export const NAPI_VERSION = 8;
/** Raised when the layout of a finished folder changes; older folders are then left alone and not used. */
export const MANIFEST_SCHEMA = 1;
/** Older builds lack bf16 kernels on CPU and code for current GPUs. */
export const MINIMUM_TENSORFLOW = "2.18.0";

export const PACKAGE_PATH = join("node_modules", "@tensorflow", "tfjs-node-gpu");

/** @param {Record<string, string | undefined>} env */
export function cacheRoot(env = process.env) {
  if (env.WEIR_CACHE) return resolve(env.WEIR_CACHE);
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "weir");
}

/** @param {Record<string, string | undefined>} env */
export function nativeRoot(env = process.env) {
  return join(cacheRoot(env), "native");
}

/**
 * Name of the folder: everything that a compiled engine depends on.
 * @param {{ tensorflow: string, variant: "cpu" | "gpu", platform?: string, arch?: string, tfjs?: string, napi?: number }} parts
 */
export function nativeKey({
  tensorflow,
  variant,
  platform = process.platform,
  arch = process.arch,
  tfjs = TFJS_VERSION,
  napi = NAPI_VERSION,
}) {
  return `tfjs-${tfjs}_tf-${tensorflow}-${variant}_napi-${napi}_${platform}-${arch}`;
}

/** -1, 0 or 1 by the numeric parts of two versions. */
export function compareVersions(a, b) {
  const left = String(a).split(/[.-]/).map(Number);
  const right = String(b).split(/[.-]/).map(Number);
  for (let index = 0; index < 3; index += 1) {
    const difference = (left[index] || 0) - (right[index] || 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/** The files without which the folder is useless, relative to it. */
export function requiredFiles() {
  return [
    join(PACKAGE_PATH, "package.json"),
    join(PACKAGE_PATH, "lib", `napi-v${NAPI_VERSION}`, "tfjs_binding.node"),
    join(PACKAGE_PATH, "deps", "lib", "libtensorflow_cc.so.2"),
    join(PACKAGE_PATH, "deps", "lib", "libtensorflow_framework.so.2"),
  ];
}

/**
 * Finished engines that fit this Node and machine, best first (GPU builds before CPU builds, then the newer TensorFlow).
 * @param {{ env?: Record<string, string | undefined>, platform?: string, arch?: string }} options
 * @returns {{ directory: string, manifest: any }[]}
 */
export function findEngines({ env = process.env, platform = process.platform, arch = process.arch } = {}) {
  const root = nativeRoot(env);
  let names;
  try {
    names = readdirSync(root);
  } catch {
    return [];
  }
  const found = [];
  for (const name of names) {
    if (name.startsWith(".")) continue;
    const directory = join(root, name);
    const manifest = readManifest(directory);
    if (manifest === null || manifest.platform !== platform || manifest.arch !== arch) continue;
    if (manifest.tfjs !== TFJS_VERSION || compareVersions(manifest.tensorflow, MINIMUM_TENSORFLOW) < 0) continue;
    if (!isComplete(directory, manifest)) continue;
    found.push({ directory, manifest });
  }
  const rank = (entry) => (entry.manifest.variant === "gpu" ? 1 : 0);
  return found.sort((a, b) => rank(b) - rank(a) || compareVersions(b.manifest.tensorflow, a.manifest.tensorflow));
}

/** The manifest of a finished folder; null where there is none that this version understands. */
export function readManifest(directory) {
  try {
    const manifest = JSON.parse(readFileSync(join(directory, "manifest.json"), "utf8"));
    return manifest.schema === MANIFEST_SCHEMA ? manifest : null;
  } catch {
    return null;
  }
}

/** True when each file of the manifest is there with its size. */
export function isComplete(directory, manifest) {
  const sizes = manifest.files ?? {};
  if (requiredFiles().some((file) => sizes[file] === undefined)) return false;
  return Object.entries(sizes).every(([file, size]) => {
    try {
      return statSync(join(directory, file)).size === size;
    } catch {
      return false;
    }
  });
}
