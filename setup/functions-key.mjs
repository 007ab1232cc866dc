/**
 * Owns where the functions addon of an engine lies: `<engine folder>/functions/<key>/weir_functions.node`. The key is a hash of its
 * source and the compiler's flags. Set-up and loader share it.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { weirCommand } from "./command.mjs";
import { NAPI_VERSION } from "./paths.mjs";

export const NATIVE = join(dirname(dirname(fileURLToPath(import.meta.url))), "native");
export const FUNCTIONS_SOURCE = join(NATIVE, "functions", "addon.cc");
export const FUNCTIONS_NAME = "weir_functions.node";
export const FUNCTIONS_FLAGS = [
  "-std=c++17",
  "-O2",
  "-fPIC",
  "-shared",
  "-fvisibility=hidden",
  `-DNAPI_VERSION=${NAPI_VERSION}`,
  // Leaves headers out that are not part of the C API's folder.
  "-DIS_SLIM_BUILD",
];

/** @param {string} directory an engine folder */
export function functionsFile(directory) {
  const hash = createHash("sha256").update(readFileSync(FUNCTIONS_SOURCE));
  const key = hash
    .update(JSON.stringify([FUNCTIONS_FLAGS, process.platform, process.arch]))
    .digest("hex")
    .slice(0, 16);
  return join(directory, "functions", key, FUNCTIONS_NAME);
}

/** The file next to the addon that says why XLA must not be used with it; there is none where XLA works. */
export function xlaFaultFile(directory) {
  return join(dirname(functionsFile(directory)), "xla-fault.txt");
}

/** Why XLA must not be used with the addon; null where nothing is against it. */
function xlaFault(directory, env) {
  if (env.WEIR_XLA === "off") return "XLA is switched off by WEIR_XLA=off";
  const file = xlaFaultFile(directory);
  return existsSync(file) ? readFileSync(file, "utf8").trim() : null;
}

/**
 * The addon to use, or why there is none; `xla`: why XLA must not be used, or null.
 * @param {string} directory an engine folder
 * @param {Record<string, string | undefined>} env
 * @returns {{ path: string | null, reason: string, xla: string | null }}
 */
export function locateFunctions(directory, env = process.env) {
  const path = functionsFile(directory);
  if (existsSync(path)) {
    return { path, reason: "graphs run as functions on the device", xla: xlaFault(directory, env) };
  }
  const reason = `no functions addon of this version is compiled for the engine (\`${weirCommand("setup")}\` does that)`;
  return { path: null, reason, xla: null };
}
