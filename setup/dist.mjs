/**
 * dist/ of a clone: built when a source file is newer than the last build, else left alone.
 */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { withLock } from "./lock.mjs";
import { run } from "./run.mjs";

const SOURCES = ["src", "monitor", "tsconfig.json", "tsconfig.build.json", "package.json", "package-lock.json"];

/** Names, sizes and times of all source files, hashed. */
export function fingerprint(root) {
  const hash = createHash("sha256");
  for (const file of listFiles(root)) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${relative(root, file)}\0${size}\0${Math.round(mtimeMs)}\n`);
  }
  return hash.digest("hex");
}

function listFiles(root) {
  const files = [];
  for (const source of SOURCES) {
    const path = join(root, source);
    if (!existsSync(path)) continue;
    if (statSync(path).isFile()) files.push(path);
    else {
      for (const entry of readdirSync(path, { withFileTypes: true, recursive: true })) {
        if (entry.isFile()) files.push(join(entry.parentPath ?? entry.path, entry.name));
      }
    }
  }
  return files.sort();
}

/**
 * @param {{ root: string, force?: boolean, clean?: boolean, say?: (line: string) => void }} options
 * @returns {Promise<{ status: "ready" | "reused", seconds: number }>} rejects with the compiler's messages
 */
export async function ensureBuild({ root, force = false, clean = false, say = () => {} }) {
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  const record = join(root, "dist", ".build");
  const isCurrent = () => existsSync(record) && readFileSync(record, "utf8") === fingerprint(root);
  if (!force && !clean && isCurrent()) return { status: "reused", seconds: seconds() };
  return await withLock(
    join(root, "node_modules", ".weir-build.lock"),
    async () => {
      if (!force && !clean && isCurrent()) return { status: "reused", seconds: seconds() };
      if (clean) rmSync(join(root, "dist"), { recursive: true, force: true });
      mkdirSync(join(root, "dist"), { recursive: true });
      const before = fingerprint(root);
      say("compiling TypeScript");
      await tool(root, ["typescript", "bin", "tsc"], ["-p", "tsconfig.build.json"], "tsc");
      if (existsSync(join(root, "monitor", "web", "index.html"))) {
        say("building the monitor's page");
        const target = join(root, "dist", "monitor", "web");
        const args = ["build", "monitor/web", "--outDir", target, "--emptyOutDir", "--logLevel", "warn"];
        await tool(root, ["vite", "bin", "vite.js"], args, "vite");
      }
      const main = join(root, "dist", "src", "cli", "main.js");
      if (existsSync(main)) chmodSync(main, 0o755);
      writeFileSync(record, before);
      return { status: "ready", seconds: seconds() };
    },
    { onWait: (owner) => say(`waiting for ${owner}, which is building`) },
  );
}

async function tool(root, path, args, name) {
  const result = await run(process.execPath, [join(root, "node_modules", ...path), ...args], { cwd: root });
  if (result.code !== 0) throw new Error(`${name} failed:\n${result.output.trim()}`);
}
