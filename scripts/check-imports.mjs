/**
 * Checks that imports point one way:
 * contracts ← {algorithms, losses, system} ← {data, rewards, store, model, streams} ← actors ← index and cli; monitor/protocol imports only contracts.
 * Usage: node scripts/check-imports.mjs [ROOT]; prints each violation and exits with 1 where there is one.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SHARED = ["contracts", "errors", "printable", "config", "system"];
const MIDDLE = ["data", "rewards", "store", "model", "streams"];
const TOP = [...SHARED, "algorithms", "losses", ...MIDDLE, "actors", "remote"];
const MONITOR = ["monitor/protocol", "monitor/server", "monitor/client"];

/** What each layer may import besides itself. */
export const RULES = {
  contracts: [],
  errors: [],
  printable: [],
  system: ["errors"],
  config: ["contracts", "errors", "algorithms"],
  algorithms: ["contracts", "errors"],
  losses: ["contracts", "errors"],
  data: [...SHARED, "algorithms"],
  rewards: [...SHARED, "algorithms"],
  store: [...SHARED, "algorithms"],
  model: [...SHARED, "algorithms", "losses"],
  streams: [...SHARED, "algorithms"],
  remote: [...SHARED, "algorithms"],
  actors: [...SHARED, "algorithms", "losses", ...MIDDLE, "remote", "monitor/protocol", "monitor/server"],
  index: [...TOP, ...MONITOR, "testing"],
  testing: [...TOP, ...MONITOR],
  cli: [...TOP, ...MONITOR, "index", "testing"],
  "monitor/protocol": ["contracts"],
  "monitor/server": [...SHARED, "store", "streams", "monitor/protocol"],
  "monitor/client": ["contracts", "errors", "monitor/protocol"],
  "monitor/web": ["contracts", "monitor/protocol", "monitor/client"],
};

/** Single files that a layer may import beyond its rule, and why. */
const EXCEPTIONS = {
  // The names of metrics are a type of the registry, which imports nothing but errors.
  contracts: ["src/streams/metrics.ts"],
  // Names and units of metrics are the wire's vocabulary; the registry is data without code.
  "monitor/web": ["src/streams/metrics.ts"],
};

/** Layer of a file given relative to the root, or null for files that no rule covers (tests, bench, examples). */
export function layerOf(file) {
  const parts = file.split(/[\\/]/);
  if (parts[0] === "monitor") return parts.length > 2 ? `monitor/${parts[1]}` : null;
  if (parts[0] !== "src") return null;
  return parts.length > 2 ? parts[1] : parts[1].replace(/\.ts$/, "");
}

/** Relative specifiers that a source imports, re-exports or loads. */
export function importsOf(source) {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const modules = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)["'](\.[^"']*)["']/g;
  // A URL is an import only where it names code (a worker, a process); folders of data are not.
  const programs = /\bnew URL\(\s*["'](\.[^"']*\.[jt]s)["']/g;
  return [modules, programs].flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]));
}

/**
 * @param {{ path: string, source: string }[]} files paths relative to the root
 * @returns {{ file: string, imports: string, message: string }[]}
 */
export function findViolations(files) {
  const violations = [];
  for (const { path, source } of files) {
    const from = layerOf(path);
    if (from === null) continue;
    const allowed = RULES[from];
    if (allowed === undefined) {
      violations.push({ file: path, imports: "", message: `${from} has no rule in scripts/check-imports.mjs` });
      continue;
    }
    for (const specifier of importsOf(source)) {
      const target = relative(".", resolve(dirname(path), specifier))
        .split(sep)
        .join("/")
        .replace(/\.js$/, ".ts");
      const to = layerOf(target);
      if (to === from || EXCEPTIONS[from]?.includes(target)) continue;
      if (to === null || !allowed.includes(to)) {
        const choices = allowed.length > 0 ? allowed.join(", ") : "nothing but itself";
        violations.push({
          file: path,
          imports: specifier,
          message: `${from} may import ${choices}; not ${to ?? target}`,
        });
      }
    }
  }
  return violations;
}

/** All TypeScript sources below src/ and monitor/. */
export function readSources(root) {
  const files = [];
  for (const folder of ["src", "monitor"]) {
    if (!existsSync(join(root, folder))) continue;
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !/\.tsx?$/.test(entry.name)) continue;
      const path = join(entry.parentPath ?? entry.path, entry.name);
      files.push({ path: relative(root, path), source: readFileSync(path, "utf8") });
    }
  }
  return files;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url)));
  const files = readSources(root);
  const violations = findViolations(files);
  for (const { file, imports, message } of violations) process.stderr.write(`${file}: ${imports}: ${message}\n`);
  process.stderr.write(`check-imports: ${files.length} files, ${violations.length} violations\n`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
