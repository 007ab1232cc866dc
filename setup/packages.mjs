/**
 * npm packages of a clone: installed from the lockfile when they are missing or differ from it, else left alone.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanNpmEnvironment } from "./install.mjs";
import { run } from "./run.mjs";

/**
 * Why node_modules does not fit the lockfile, or null when it does.
 * Packages that npm may leave out for this machine (optional ones, other platforms) do not count.
 * @param {{ packages?: Record<string, any> }} lock            package-lock.json
 * @param {{ packages?: Record<string, any> } | null} installed node_modules/.package-lock.json, npm's own record
 */
export function staleReason(lock, installed) {
  if (installed === null) return "node_modules is missing";
  const present = installed.packages ?? {};
  for (const [path, wanted] of Object.entries(lock.packages ?? {})) {
    if (path === "" || wanted.optional || wanted.devOptional || wanted.peer || wanted.os || wanted.cpu) continue;
    const found = present[path];
    if (found === undefined) return `${path.replace(/^.*node_modules\//, "")} is missing`;
    if (found.version !== wanted.version) {
      return `${path.replace(/^.*node_modules\//, "")} is ${found.version}, the lockfile says ${wanted.version}`;
    }
  }
  return null;
}

/**
 * @param {{ root: string, force?: boolean, env?: NodeJS.ProcessEnv, say?: (line: string) => void }} options
 * @returns {Promise<{ status: "ready" | "reused", seconds: number }>} rejects when npm fails
 */
export async function ensurePackages({ root, force = false, env = process.env, say = () => {} }) {
  const started = performance.now();
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const record = join(root, "node_modules", ".package-lock.json");
  const installed = existsSync(record) ? JSON.parse(readFileSync(record, "utf8")) : null;
  const reason = force ? "asked for" : staleReason(lock, installed);
  const seconds = () => (performance.now() - started) / 1000;
  if (reason === null) return { status: "reused", seconds: seconds() };
  say(`npm ci (${reason})`);
  const result = await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    env: cleanNpmEnvironment(env),
  });
  if (result.code !== 0) throw new Error(`npm ci failed:\n${result.output.trim()}`);
  return { status: "ready", seconds: seconds() };
}
