/**
 * Compiles weir's kernels (native/) for an engine that is set up, tries them in a process of their own and
 * puts them into the engine's folder. Nothing depends on it: without kernels TensorFlow's own operations do the work.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  COMPILE_FLAGS,
  FILE_FLAGS,
  INCLUDE_FOLDERS,
  KERNELS_NAME,
  kernelFile,
  kernelKey,
  kernelSources,
} from "./kernel-key.mjs";
import { withLock } from "./lock.mjs";
import { PACKAGE_PATH } from "./paths.mjs";
import { run } from "./run.mjs";
import { findCompiler, findNodeHeaders } from "./tools.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const COMPILE_TIMEOUT_MS = 300_000;
const PROBE_TIMEOUT_MS = 120_000;
/** The file next to the kernels that names the compiler they were made with. */
const RECORD = "compiler.txt";

/** @typedef {{ status: "ready" | "reused" | "unavailable", reason: string, seconds: number }} KernelsResult */

/**
 * @param {{ directory: string, force?: boolean, env?: NodeJS.ProcessEnv, say?: (line: string) => void }} options
 *   directory: a finished engine folder
 * @returns {Promise<KernelsResult>} never rejects: what is missing is status "unavailable" with the reason in one line
 */
export async function ensureKernels({ directory, force = false, env = process.env, say = () => {} }) {
  const started = performance.now();
  const finish = (status, reason) => ({ status, reason, seconds: (performance.now() - started) / 1000 });
  try {
    const compiler = findCompiler(env);
    const key = kernelKey();
    const target = kernelFile(directory, key);
    const isCurrent = () => !force && existsSync(target) && madeBy(dirname(target)) === compiler.version;
    const existing = () => finish("reused", `kernels found in ${dirname(target)}`);
    if (isCurrent()) return existing();
    return await withLock(
      join(directory, "kernels", ".lock"),
      async () => {
        if (isCurrent()) return existing();
        say(`compiling the kernels (${compiler.version})`);
        const staging = join(directory, "kernels", `.building-${key}`);
        rmSync(staging, { recursive: true, force: true });
        mkdirSync(staging, { recursive: true });
        try {
          const built = await compile({ directory, staging, compiler, env });
          await probe(directory, built, env);
          mkdirSync(dirname(target), { recursive: true });
          renameSync(built, target);
          writeFileSync(join(dirname(target), RECORD), compiler.version);
        } finally {
          rmSync(staging, { recursive: true, force: true });
        }
        return finish("ready", `kernels compiled into ${dirname(target)}`);
      },
      { onWait: (owner) => say(`waiting for ${owner}, which is compiling the kernels`) },
    );
  } catch (error) {
    const cause = String(error?.missing ?? error?.message ?? error).split("\n")[0];
    return finish("unavailable", `kernels left out: ${cause}; TensorFlow's own operations do their work`);
  }
}

function madeBy(folder) {
  try {
    return readFileSync(join(folder, RECORD), "utf8");
  } catch {
    return null;
  }
}

/** Each source to an object file, as many at a time as there are cores, and one link. */
async function compile({ directory, staging, compiler, env }) {
  const deps = join(directory, PACKAGE_PATH, "deps");
  const include = [...INCLUDE_FOLDERS, join(deps, "include"), findNodeHeaders(env)].map((folder) => `-I${folder}`);
  const waiting = kernelSources().filter(({ name }) => name.endsWith(".cc"));
  const objects = waiting.map((_, index) => join(staging, `${index}.o`));
  const jobs = waiting.map(({ name, path }, index) => async () => {
    const flags = [...COMPILE_FLAGS, ...(FILE_FLAGS[name] ?? [])];
    await tool(compiler.command, [...flags, ...include, "-c", path, "-o", objects[index]], name, env);
  });
  const worker = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await job();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));

  const output = join(staging, KERNELS_NAME);
  const libraries = [`-L${join(deps, "lib")}`, "-ltensorflow_framework"];
  // Relative to <engine>/kernels/<key>, so that the engine's folder can be moved.
  const runPath = `-Wl,-rpath,${join("$ORIGIN", "..", "..", PACKAGE_PATH, "deps", "lib")}`;
  await tool(compiler.command, ["-shared", ...objects, ...libraries, runPath, "-o", output], "the library", env);
  return output;
}

async function tool(command, args, what, env) {
  const result = await run(command, args, { env, timeoutMs: COMPILE_TIMEOUT_MS });
  if (result.code === 0) return;
  const line = result.output.split("\n").find((text) => /error/i.test(text)) ?? `exit code ${result.code}`;
  throw new Error(`${command} could not compile ${what} (${line.trim().slice(0, 200)})`);
}

/** Loads and runs a kernel elsewhere: what crashes, crashes there. */
async function probe(directory, file, env) {
  const script = join(HERE, "probe.mjs");
  const result = await run(process.execPath, [script, "tensorflow", directory, "--kernels", file], {
    env: { ...env, WEIR_KERNELS: "on" },
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  let answer = null;
  try {
    answer = JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "");
  } catch {
    throw new Error(`their probe ended with code ${result.code}`);
  }
  if (!answer.ok) throw new Error(`the engine does not run (${answer.reason})`);
  if (!answer.kernels.ok) throw new Error(`they do not run (${answer.kernels.reason})`);
}
