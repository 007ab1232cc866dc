/**
 * Compiles the functions addon (native/functions) for an engine that is set up, tries it in a process of its own and puts it
 * into the engine's folder. An engine for a GPU needs it to run compiled graphs; one for the CPU runs them in sessions.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  FUNCTIONS_FLAGS,
  FUNCTIONS_NAME,
  FUNCTIONS_SOURCE,
  functionsFile,
  NATIVE,
  xlaFaultFile,
} from "./functions-key.mjs";
import { withLock } from "./lock.mjs";
import { PACKAGE_PATH } from "./paths.mjs";
import { run } from "./run.mjs";
import { findCompiler, findNodeHeaders } from "./tools.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const COMPILE_TIMEOUT_MS = 300_000;
const PROBE_TIMEOUT_MS = 120_000;

/** @typedef {{ status: "ready" | "reused" | "unavailable", reason: string, seconds: number }} FunctionsResult */

/**
 * Compiles the addon, tries it in a process of its own and puts it into the engine's folder.
 * @param {{ directory: string, force?: boolean, env?: NodeJS.ProcessEnv, say?: (line: string) => void }} options
 *   directory: a finished engine folder
 * @returns {Promise<FunctionsResult>} never rejects: what is missing is status "unavailable" with the reason in one line
 */
export async function ensureFunctions({ directory, force = false, env = process.env, say = () => {} }) {
  const started = performance.now();
  const finish = (status, reason) => ({ status, reason, seconds: (performance.now() - started) / 1000 });
  const target = functionsFile(directory);
  const existing = () => finish("reused", `functions addon found in ${dirname(target)}`);
  const isCurrent = () => !force && existsSync(target);
  try {
    if (isCurrent()) return existing();
    const compiler = findCompiler(env);
    return await withLock(
      join(directory, "functions", ".lock"),
      async () => {
        if (isCurrent()) return existing();
        say(`compiling the functions addon (${compiler.version})`);
        // As deep in the engine's folder as its place, since its path to TensorFlow's libraries is relative.
        const staging = join(directory, "functions", ".building");
        rmSync(staging, { recursive: true, force: true });
        mkdirSync(staging, { recursive: true });
        try {
          const built = join(staging, FUNCTIONS_NAME);
          await compile({ directory, built, compiler, env });
          await probe(directory, built, env);
          mkdirSync(dirname(target), { recursive: true });
          renameSync(built, target);
          await tryXla({ directory, env });
        } finally {
          rmSync(staging, { recursive: true, force: true });
        }
        return finish("ready", `functions addon compiled into ${dirname(target)}`);
      },
      { onWait: (owner) => say(`waiting for ${owner}, which is compiling the functions addon`) },
    );
  } catch (error) {
    const cause = String(error?.missing ?? error?.message ?? error).split("\n")[0];
    return finish("unavailable", `functions addon left out: ${cause}; a GPU runs operation by operation`);
  }
}

async function compile({ directory, built, compiler, env }) {
  const deps = join(directory, PACKAGE_PATH, "deps");
  const include = [join(deps, "include"), join(NATIVE, "tensorflow", "include"), findNodeHeaders(env)];
  const result = await run(
    compiler.command,
    [
      ...FUNCTIONS_FLAGS,
      ...include.map((folder) => `-I${folder}`),
      FUNCTIONS_SOURCE,
      `-L${join(deps, "lib")}`,
      "-ltensorflow",
      "-ltensorflow_framework",
      // Relative, so that the engine's folder can be moved.
      `-Wl,-rpath,$ORIGIN/../../${join(PACKAGE_PATH, "deps", "lib")}`,
      "-o",
      built,
    ],
    { env, timeoutMs: COMPILE_TIMEOUT_MS },
  );
  if (result.code === 0) return;
  const line = result.output.split("\n").find((text) => /error/i.test(text)) ?? `exit code ${result.code}`;
  throw new Error(`${compiler.command} could not compile it (${line.trim().slice(0, 200)})`);
}

/**
 * Has XLA compile a function in a process of its own, on the device that is there now, and notes in the engine's folder why it
 * must not be used where that fails: XLA may end the process where a part of CUDA is missing.
 * @param {{ directory: string, env?: NodeJS.ProcessEnv }} options directory: an engine folder with the addon
 * @returns {Promise<string | null>} the reason, or null where XLA works
 */
export async function tryXla({ directory, env = process.env }) {
  const fault = xlaFaultFile(directory);
  try {
    await probe(directory, functionsFile(directory), env, ["--xla"]);
    rmSync(fault, { force: true });
    return null;
  } catch (error) {
    const reason = `XLA compiled nothing: ${String(error.message).split("\n")[0]}`;
    writeFileSync(fault, `${reason}\n`);
    return reason;
  }
}

/** Calls a function elsewhere: what crashes, crashes there. */
async function probe(directory, file, env, more = []) {
  const script = join(HERE, "probe.mjs");
  const result = await run(process.execPath, [script, "tensorflow", directory, "--functions", file, ...more], {
    env,
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  let answer = null;
  try {
    answer = JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "");
  } catch {
    throw new Error(`its probe ended with code ${result.code}`);
  }
  if (!answer.ok) throw new Error(`the engine does not run (${answer.reason})`);
  if (!answer.functions.ok) throw new Error(`it does not run (${answer.functions.reason})`);
}
