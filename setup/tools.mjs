/**
 * Finds what the set-up needs from the machine: pip, a C++ compiler, Node's headers, an NVIDIA driver.
 * What is missing becomes one line that says so and how to add it.
 */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { weirCommand } from "./command.mjs";
import { answers } from "./run.mjs";

/** Raised where the native engine cannot be had; `message` is the one line for the user. */
export class Unavailable extends Error {
  /** @param {string} missing  @param {string} remedy */
  constructor(missing, remedy) {
    super(
      `native engine left out: ${missing}. ${remedy}, then run \`${weirCommand("setup")}\`; until then weir runs on wasm.`,
    );
    this.name = "Unavailable";
    this.missing = missing;
    this.remedy = remedy;
  }
}

const PIP_CANDIDATES = [["python3", "-m", "pip"], ["pip3"], ["pip"], ["python", "-m", "pip"]];

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {{ command: string[], version: string }}
 */
export function findPip(env = process.env) {
  const candidates = env.PYTHON ? [[env.PYTHON, "-m", "pip"], ...PIP_CANDIDATES] : PIP_CANDIDATES;
  for (const command of candidates) {
    const answer = answers(command[0], [...command.slice(1), "--version"], env);
    const version = answer?.match(/^pip (\S+)/)?.[1];
    if (version) return { command, version };
  }
  throw new Unavailable("pip was not found", "Add it (Debian/Ubuntu: `sudo apt-get install python3-pip`)");
}

/** @param {NodeJS.ProcessEnv} env */
export function findCompiler(env = process.env) {
  const candidates = env.CXX ? [env.CXX, "g++", "c++", "clang++"] : ["g++", "c++", "clang++"];
  for (const command of candidates) {
    const answer = answers(command, ["--version"], env);
    if (answer !== null) return { command, version: answer.split("\n")[0] };
  }
  throw new Unavailable("no C++ compiler was found", "Add one (Debian/Ubuntu: `sudo apt-get install g++`)");
}

/**
 * A folder with node_api.h: the one given to npm, the one next to the running Node, node-gyp's cache, or the
 * node-api-headers package (the addon uses the version-independent N-API only, so any of them will do).
 * @param {NodeJS.ProcessEnv} env
 */
export function findNodeHeaders(env = process.env) {
  const besideNode = dirname(dirname(process.execPath));
  const gypCache = join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "node-gyp");
  const candidates = [
    ...(env.npm_config_nodedir ? [join(env.npm_config_nodedir, "include", "node")] : []),
    join(besideNode, "include", "node"),
    ...listFolders(gypCache).map((version) => join(gypCache, version, "include", "node")),
  ];
  try {
    const require = createRequire(import.meta.url);
    candidates.push(require("node-api-headers").include_dir);
  } catch {
    // Left out of a pruned installation; the other places may do.
  }
  const found = candidates.find((directory) => existsSync(join(directory, "node_api.h")));
  if (found) return found;
  throw new Unavailable("node_api.h was not found", "Add it with `npm install node-api-headers`");
}

/** Name and driver of the first NVIDIA GPU, or null. */
export function findGpu(env = process.env) {
  const answer = answers("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"], env);
  return answer ? answer.split("\n")[0].trim() : null;
}

function listFolders(directory) {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
