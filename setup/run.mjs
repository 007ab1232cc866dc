/**
 * Runs other programs for the set-up: output is collected, lines can be watched, a deadline ends them.
 */
import { spawn, spawnSync } from "node:child_process";

/** How much of a program's output is reported in its error message. */
const REPORTED_CHARACTERS = 20_000;

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number, onLine?: (line: string) => void, group?: boolean }} options with
 *   `group`, the deadline ends what the program has started too
 * @returns {Promise<{ code: number, stdout: string, output: string, seconds: number }>} never rejects; code 127 = not found
 */
export function run(command, args, options = {}) {
  const { cwd, env = process.env, timeoutMs = 1_800_000, onLine = () => {}, group = false } = options;
  const started = performance.now();
  return new Promise((resolve) => {
    let output = "";
    let stdout = "";
    let pending = "";
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: group });
    const end = () => (group && child.pid ? process.kill(-child.pid, "SIGKILL") : child.kill("SIGKILL"));
    const timer = setTimeout(end, timeoutMs);
    const take = (chunk) => {
      output = (output + chunk).slice(-REPORTED_CHARACTERS);
      pending += chunk;
      const lines = pending.split(/[\r\n]+/);
      pending = lines.pop() ?? "";
      for (const line of lines) if (line.trim() !== "") onLine(line.trim());
    };
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      stdout += chunk;
      take(chunk);
    });
    child.stderr.setEncoding("utf8").on("data", take);
    const finish = (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, output, seconds: (performance.now() - started) / 1000 });
    };
    child.on("error", (error) => {
      output += error.message;
      finish(error.code === "ENOENT" || error.code === "EACCES" ? 127 : 1);
    });
    child.on("close", (code, signal) => finish(signal ? 128 : (code ?? 1)));
  });
}

/**
 * Whether a program answers to `args` with exit code 0.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
export function answers(command, args, env = process.env) {
  const result = spawnSync(command, args, {
    env,
    stdio: ["ignore", "pipe", "ignore"],
    encoding: "utf8",
    timeout: 60_000,
  });
  return result.status === 0 ? result.stdout.trim() : null;
}
