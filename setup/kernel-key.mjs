/**
 * Owns where the compiled kernels of an engine lie: `<engine folder>/kernels/<key>/weir_kernels.node`, and what the key
 * depends on: sources, flags, N-API version and the processor, for which they are compiled. Set-up and loader share it.
 */
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { weirCommand } from "./command.mjs";
import { NAPI_VERSION } from "./paths.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
/** The C++ sources, and the folders of them that make the library; tests and benchmarks have folders of their own. */
const SOURCES = join(dirname(HERE), "native");
const SOURCE_FOLDERS = ["core", "simd", "gemm", "attention", "ops", "tensorflow"];

export const KERNELS_NAME = "weir_kernels.node";

/** Finite and infinite numbers and NaN keep their meaning; only traps and errno, which nobody reads, are given up. */
export const COMPILE_FLAGS = [
  "-std=c++17",
  "-O3",
  "-march=native",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-math-errno",
  "-fno-trapping-math",
  `-DNAPI_VERSION=${NAPI_VERSION}`,
  // Leaves headers out that are not part of the C API's folder.
  "-DIS_SLIM_BUILD",
];
/** Flags of single files. */
export const FILE_FLAGS = { "ops/optimiser.cc": ["-ffp-contract=off"] };

/** Folders for the compiler to look for the sources' own headers in. */
export const INCLUDE_FOLDERS = [SOURCES, join(SOURCES, "tensorflow", "include")];

/**
 * All source files, by their path below native/.
 * @returns {{ name: string, path: string }[]}
 */
export function kernelSources() {
  const found = [];
  for (const folder of SOURCE_FOLDERS) {
    if (!existsSync(join(SOURCES, folder))) continue;
    for (const entry of readdirSync(join(SOURCES, folder), { recursive: true })) {
      const name = `${folder}/${entry}`;
      if (/\.(cc|h|inc)$/.test(name)) found.push({ name, path: join(SOURCES, name) });
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The first processor's abilities as Linux lists them, sorted; empty where it lists none. */
export function processorFlags() {
  // One processor's lines are a few kB, and each of them is made when it is read.
  const text = Buffer.alloc(8192);
  try {
    const file = openSync("/proc/cpuinfo", "r");
    const length = readSync(file, text);
    closeSync(file);
    const [, flags = ""] = text.toString("utf8", 0, length).match(/^(?:flags|Features)\s*:\s*(.*)$/m) ?? [];
    return flags.split(" ").sort().join(" ");
  } catch {
    return "";
  }
}

/** @param {{ sources?: { name: string, path: string }[], processor?: string }} parts */
export function kernelKey({ sources = kernelSources(), processor = processorFlags() } = {}) {
  const hash = createHash("sha256");
  for (const { name, path } of sources) hash.update(`${name}\0`).update(readFileSync(path)).update("\0");
  hash.update(JSON.stringify([COMPILE_FLAGS, FILE_FLAGS, process.platform, process.arch, processor]));
  return hash.digest("hex").slice(0, 16);
}

/** Where the kernels of this version and machine belong in an engine folder. */
export function kernelFile(directory, key = kernelKey()) {
  return join(directory, "kernels", key, KERNELS_NAME);
}

/**
 * The kernels to use, or why there are none.
 * @param {string} directory an engine folder
 * @param {Record<string, string | undefined>} env
 * @returns {{ path: string | null, reason: string }}
 */
export function locateKernels(directory, env = process.env) {
  if (env.WEIR_KERNELS === "off") return { path: null, reason: "the kernels are switched off by WEIR_KERNELS=off" };
  const path = kernelFile(directory);
  if (existsSync(path)) return { path, reason: "compiled for this processor" };
  return {
    path: null,
    reason: `no kernels of this version are compiled for this processor (\`${weirCommand("setup")}\` does that)`,
  };
}
